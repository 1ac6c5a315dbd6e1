# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What Langevin dynamics with one step size for a whole group have in common: units, step
size, kick and temperature.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl._arguments import check_positive
from numpyro_pl._sizes import size_of
from numpyro_pl.dynamics.noise import scaled_noise

__all__ = [
    "UnitMass",
    "kinetic_share",
    "mean_of",
    "squared_norm",
    "white_noise",
]

Tree = Any


def mean_of(tree: Tree) -> jax.Array:
    """Mean over all coordinates."""
    return jnp.asarray(sum(jnp.sum(x) for x in jax.tree.leaves(tree))) / size_of(tree)


def squared_norm(x: Tree) -> jax.Array:
    """Sum of squares of all coordinates."""
    return jnp.asarray(sum(jnp.sum(jnp.square(v)) for v in jax.tree.leaves(x)))


def white_noise(kind: str, rng_key, like: Tree, sd, stream) -> Tree:
    """Increments of one standard deviation `sd` in the shape of `like`."""
    scale = jax.tree.map(lambda x: jnp.broadcast_to(sd, x.shape).astype(x.dtype), like)
    return scaled_noise(kind, rng_key, scale, stream)


def kinetic_share(c):
    r"""
    Share of the kicked momentum's square in the kinetic temperature,
    :math:`k = (1 + 3c) / (4 (1 + c))`.

    Before and after the kick a harmonic mode has exactly :math:`T`. White gradient
    noise heats the two differently, and the position by something between: the mean
    :math:`(1 - k) u^2 + k w^2` is as hot as the slow modes of the position are.
    """
    return (1 + 3 * c) / (4 * (1 + c))


class UnitMass:
    """
    What dynamics with one step size for the whole group have in common.

    They are frozen dataclasses with the fields

    - **temperature** - temperature T of the target; 1 is the posterior.
    - **step_size** - step length h in units of time where the potential is `U / N` and
      masses are 1. None: the kernel's; where that is None too, warmup sets it.
    - **data_size** - number N of data, set by the kernel.
    - **max_frequency** - bound on frequencies, in radians per step, set by the kernel.
    """

    temperature: float
    step_size: float | None
    data_size: float
    max_frequency: float

    tracks_noise = False
    per_coordinate = False
    has_thermostat = False
    num_streams = 1
    # Bound on (friction of the step) by `tanh(friction h / 2)`, where noise sets it.
    most_noise = 0.8

    def __post_init__(self):
        check_positive("temperature", self.temperature)
        if self.step_size is not None:
            check_positive("step_size", self.step_size)

    def bind(self, data_size: float, step_size: float | None, max_frequency: float):
        """These dynamics in a model: see :class:`Partition`."""
        own = self.step_size if self.step_size is not None else step_size
        return replace(  # type: ignore[type-var]
            self,
            data_size=float(data_size),
            step_size=own,
            max_frequency=max_frequency,
        )

    @property
    def least_friction(self) -> float:
        """Friction of the user's setting, in units of inverse time."""
        raise NotImplementedError

    def decay(self, step_size):
        """Share of the momentum that a step keeps."""
        h, friction = step_size
        return jnp.exp(-friction * h)

    def initial_thermostat(self) -> float:
        """Thermostat variable to start from."""
        return 0.0

    def adapted_thermostat(self, thermostat, step_size):
        """Thermostat variable after an adaptation."""
        return thermostat

    def _rate(self, step_size):
        h, _ = step_size
        return h * h / self.data_size

    def step_sizes(self, noise_variance: Tree, curvature: Tree, noise_fraction):
        """
        The pair of step length h and friction. Where the user gives no step length: the
        largest at which the steepest coordinate alone has the allowed frequency, and at
        which the minibatches heat slow modes by `noise_fraction` at most when the
        friction is raised as far as that takes.

        White noise of variance v heats them by `(h^2 v / 4 N T) coth(friction h / 2)`.
        At a fixed friction that bounds the step, and a weakly damped chain would crawl;
        more friction costs nothing where the noise already sets the pace.
        """
        dtype = jnp.result_type(*jax.tree.leaves(noise_variance))
        least = jnp.asarray(self.least_friction, dtype)
        if self.step_size is not None:
            return jnp.stack([jnp.asarray(self.step_size, dtype), least])
        top = jnp.max(jnp.stack([jnp.max(x) for x in jax.tree.leaves(curvature)]))
        curved = self.max_frequency * jnp.sqrt(self.data_size / top)
        mean = mean_of(noise_variance)
        room = 4 * noise_fraction * self.temperature * self.data_size
        room = room / jnp.maximum(mean, 1e-30 * room)
        h = jnp.minimum(curved, jnp.sqrt(self.most_noise * room))
        friction = 2 * jnp.arctanh(h * h / room) / h
        return jnp.stack([h, jnp.maximum(friction, least)]).astype(dtype)

    def first_steps(self, like: Tree):
        """A pair of the shape of the step sizes."""
        return jnp.ones(2, jnp.result_type(*jax.tree.leaves(like)))

    def squared_frequency(self, step_size):
        """
        Factor from the Hessian to squared frequencies, in units of the largest one
        allowed; 0 where the user set the step size.
        """
        if self.step_size is not None:
            return jnp.zeros_like(step_size[0])
        return self._rate(step_size) / self.max_frequency**2

    def shrunk(self, step_size, factor):
        """The step size with all squared frequencies times `factor`."""
        if self.step_size is not None:
            return step_size
        h, friction = step_size
        return jnp.stack([h * jnp.sqrt(factor).astype(h.dtype), friction])

    def noise_fractions(self, step_size, noise_variance: Tree) -> Tree:
        """Share by which the minibatches heat slow modes, per coordinate."""
        c = self.decay(step_size)
        rate = self._rate(step_size) / self.temperature
        scale = rate * (1 + c) / (4 * (1 - c))
        return jax.tree.map(lambda v: scale * v, noise_variance)

    def mean_noise_fraction(self, step_size, noise_variance) -> jax.Array:
        """Their mean, from the mean of the variance."""
        return self.noise_fractions(step_size, noise_variance)

    def bounded_variance(self, step_size, variance: Tree) -> Tree:
        """The variance as it is: this dynamics does not use it."""
        return variance

    def draw_displacement(
        self, rng_key, step_size, like: Tree, stream=0, noise: str = "gaussian"
    ) -> Tree:
        """A displacement of thermal momentum."""
        sd = jnp.sqrt(self._rate(step_size) * self.temperature)
        return white_noise(noise, rng_key, like, sd, stream)

    def kicked(self, u: Tree, grad: Tree, step_size) -> Tree:
        """The displacement after the kick."""
        a = self._rate(step_size)
        return jax.tree.map(lambda u, g: u - a * g, u, grad)

    def kinetic_temperature(self, u, grad: Tree, step_size, variance: Tree):
        """
        Kinetic temperature, a scalar: exact for harmonic targets, and as hot under
        white gradient noise as the slow modes of the position.
        """
        if self.has_thermostat:
            u, thermostat = u
            c = jnp.clip(jnp.exp(-step_size[0] * thermostat), 0.0, 1.0)
        else:
            c = self.decay(step_size)
        k = kinetic_share(c)
        total = (1 - k) * squared_norm(u) + k * squared_norm(
            self.kicked(u, grad, step_size)
        )
        return total / (self._rate(step_size) * size_of(u))

    def read(self, x: Tree, u: Tree) -> Tree:
        """The draw: the position itself."""
        return x

    def resume(self, z: Tree, u: Tree) -> Tree:
        """The position after a draw."""
        return z
