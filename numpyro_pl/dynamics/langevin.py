# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Langevin dynamics of a group of parameters (arXiv:1908.11843): the members of a
partition, which all take the same minibatch gradient.

Units are those of the paper: the dynamics moves in :math:`U / N` at temperature
:math:`\tau = T / N` with unit masses, where :math:`N` is the number of data, so that
its step sizes and frictions carry over; `temperature=1` is the posterior. The maps of a
step of length :math:`h` are

.. math::

    A:\; x \mathrel{+}= h p, \quad B:\; p \mathrel{-}= h \nabla U / N, \quad
    O:\; p = c p + \sqrt{(1 - c^2) \tau} R \;\text{ with }\; c = e^{-\gamma h},

    C:\; p \mathrel{*}= e^{-h \xi}, \quad D:\; p \mathrel{+}= \sigma \sqrt{h} R, \quad
    E:\; \xi \mathrel{+}= h \epsilon (p \cdot p - n \tau) .

In the code they act on the displacement :math:`u = h p`, whose thermal variance is
:math:`a T` with :math:`a = h^2 / N`. Every dynamics begins with the kick
:math:`w = u - a \nabla U`, makes of it the next displacement :math:`u'`, and moves by
:math:`(w + u') / 2`, so that the gradient is always taken where the draw is read.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl._arguments import check_positive
from numpyro_pl.dynamics.noise import scaled_noise

__all__ = ["AdaptiveLangevin", "Langevin", "OverdampedLangevin", "UnitMass"]

Tree = Any

ADAPTIVE_STEP = 0.05
"""Bound on `h^2 n epsilon tau`: its thermostat swings by `sqrt(2 * this)` radians a
step. A faster one is unstable; no speed changes what is sampled."""


def _size(tree: Tree) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def _dot(x: Tree) -> jax.Array:
    return jnp.asarray(sum(jnp.sum(jnp.square(v)) for v in jax.tree.leaves(x)))


def _noise(kind: str, rng_key, like: Tree, sd, stream) -> Tree:
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


@dataclass(frozen=True)
class UnitMass:
    """
    What dynamics with one step size for the whole group have in common.

    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length h in units of time where the potential is `U/N`
        and masses are 1. None: the kernel's; where that is None too, warmup sets it.
    """

    temperature: float = 1.0
    step_size: float | None = None
    # Set by the kernel when it knows the model.
    data_size: float = 1.0
    max_frequency: float = 0.5

    tracks_noise = False
    per_coordinate = False
    has_thermostat = False
    num_streams = 1

    def __post_init__(self):
        check_positive("temperature", self.temperature)
        if self.step_size is not None:
            check_positive("step_size", self.step_size)

    def bind(self, data_size: float, step_size: float | None, max_frequency: float):
        """These dynamics in a model: see :class:`Partition`."""
        own = self.step_size if self.step_size is not None else step_size
        return replace(
            self,
            data_size=float(data_size),
            step_size=own,
            max_frequency=max_frequency,
        )

    def decay(self, h):
        """Share of the momentum that a step keeps."""
        raise NotImplementedError

    def noise_step(self, excess):
        """
        Step length at which gradient noise heats the slow modes by the wanted share.

        :param excess: that share, times `T N` over the mean variance of the gradient.
        """
        raise NotImplementedError

    def initial_thermostat(self) -> float:
        """Thermostat variable to start from."""
        return 0.0

    def _rate(self, h):
        return h * h / self.data_size

    def step_sizes(self, noise_variance: Tree, curvature: Tree, noise_fraction):
        """
        Step length h at which the steepest coordinate alone has the largest allowed
        frequency, or less where the minibatches would heat the group by more than
        `noise_fraction`.
        """
        dtype = jnp.result_type(*jax.tree.leaves(noise_variance))
        if self.step_size is not None:
            return jnp.asarray(self.step_size, dtype)
        top = jnp.max(jnp.stack([jnp.max(x) for x in jax.tree.leaves(curvature)]))
        limit = self.max_frequency * jnp.sqrt(self.data_size / top)
        total = jnp.asarray(sum(jnp.sum(v) for v in jax.tree.leaves(noise_variance)))
        mean = total / _size(noise_variance)
        room = noise_fraction * self.temperature * self.data_size
        noise = self.noise_step(room / jnp.maximum(mean, 1e-30 * room))
        return jnp.minimum(limit, noise).astype(dtype)

    def squared_frequency(self, step_size):
        """
        Factor from the Hessian to squared frequencies, in units of the largest one
        allowed; 0 where the user set the step size.
        """
        if self.step_size is not None:
            return jnp.zeros_like(step_size)
        return self._rate(step_size) / self.max_frequency**2

    def shrunk(self, step_size, factor):
        """The step size with all squared frequencies times `factor`."""
        if self.step_size is not None:
            return step_size
        return step_size * jnp.sqrt(factor).astype(step_size.dtype)

    def noise_fractions(self, step_size, noise_variance: Tree) -> Tree:
        """Share by which the minibatches heat slow modes, per coordinate."""
        c = self.decay(step_size)
        rate = self._rate(step_size) / self.temperature
        scale = rate * (1 + c) / (4 * (1 - c))
        return jax.tree.map(lambda v: scale * v, noise_variance)

    def bounded_variance(self, step_size, variance: Tree) -> Tree:
        """The variance as it is: this dynamics does not use it."""
        return variance

    def draw_displacement(self, rng_key, step_size, like: Tree, stream=0) -> Tree:
        """A displacement of thermal momentum."""
        sd = jnp.sqrt(self._rate(step_size) * self.temperature)
        return _noise("gaussian", rng_key, like, sd, stream)

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
            c = jnp.clip(jnp.exp(-step_size * thermostat), 0.0, 1.0)
        else:
            c = self.decay(step_size)
        k = kinetic_share(c)
        total = (1 - k) * _dot(u) + k * _dot(self.kicked(u, grad, step_size))
        return total / (self._rate(step_size) * _size(u))

    def read(self, x: Tree, u: Tree) -> Tree:
        """The draw: the position itself."""
        return x

    def resume(self, z: Tree, u: Tree) -> Tree:
        """The position after a draw."""
        return z


def _move(x: Tree, kicked: Tree, u: Tree) -> Tree:
    return jax.tree.map(lambda x, w, u: x + 0.5 * (w + u), x, kicked, u)


@dataclass(frozen=True)
class Langevin(UnitMass):
    """
    Langevin dynamics, half drift, friction and noise, half drift, kick (`A O A B`): of
    second order, and exact for harmonic targets. Alone it is SGHMC.

    :param float friction: friction in units of inverse time, > 0.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length of this group alone.
    """

    friction: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        check_positive("friction", self.friction)

    def decay(self, h):
        """Share of the momentum that a step keeps."""
        return jnp.exp(-self.friction * h)

    def noise_step(self, excess):
        """See :meth:`UnitMass.noise_step`."""
        # The share is (h^2 v / 4 N T) coth(friction h / 2); coth(y) <= 1 / y + 1 gives
        # the quadratic h / (2 friction) + h^2 / 4 = excess.
        b = 1.0 / (2 * self.friction)
        # In this form no digits are lost where the excess is small.
        return 2 * excess / (b + jnp.sqrt(b * b + excess))

    def advance(self, rng_key, t, x, u, grad, step_size, variance, noise):
        """One step, from one gradient to the next."""
        c = self.decay(step_size)
        sd = jnp.sqrt((1 - c * c) * self._rate(step_size) * self.temperature)
        w = self.kicked(u, grad, step_size)
        kicks = _noise(noise, rng_key, u, sd, t)
        u = jax.tree.map(lambda w, r: c * w + r, w, kicks)
        return _move(x, w, u), u


@dataclass(frozen=True)
class OverdampedLangevin(Langevin):
    """
    Overdamped Langevin dynamics by Leimkuhler and Matthews (2013): an Euler step of
    length `h^2 / 2` with the mean of two successive noises; exact for harmonic targets.
    Alone it is SGLD.

    It is Langevin dynamics whose friction keeps nothing of the momentum.

    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length h of this group alone.
    """

    friction: float = math.inf

    def __post_init__(self):
        UnitMass.__post_init__(self)

    def decay(self, h):
        """Nothing is kept of the momentum."""
        return jnp.zeros_like(h)

    def noise_step(self, excess):
        """See :meth:`UnitMass.noise_step`."""
        return 2 * jnp.sqrt(excess)


@dataclass(frozen=True)
class AdaptiveLangevin(UnitMass):
    r"""
    Adaptive Langevin dynamics (Jones and Leimkuhler 2011; Ding et al. 2014): the
    friction is a variable that a thermostat drives until the momentum has the target
    temperature, and so absorbs gradient noise of unknown strength, if it is white and
    alike in all coordinates of the group. Alone it is SGNHT.

    :param float sigma: strength of the noise that is added, in the units above, >= 0.
        Default: `sqrt(tau)`, which without gradient noise is a friction of 0.5 (the
        published 0.01 at `tau = 1e-4`).
    :param float coupling: speed of the thermostat, epsilon, > 0. Lowered for large
        groups, where it would be unstable; it has no part in what is sampled.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length of this group alone.
    """

    sigma: float | None = None
    coupling: float = 0.05

    has_thermostat = True
    num_streams = 2

    def __post_init__(self):
        super().__post_init__()
        check_positive("coupling", self.coupling)
        if self.sigma is not None and self.sigma != 0:
            check_positive("sigma", self.sigma)

    @property
    def tau(self) -> float:
        """Temperature in units of `U / N`."""
        return self.temperature / self.data_size

    def initial_thermostat(self) -> float:
        """The friction that balances the added noise alone."""
        return 0.5 * self._sigma**2 / self.tau

    @property
    def _sigma(self) -> float:
        return math.sqrt(self.tau) if self.sigma is None else self.sigma

    @property
    def _friction(self) -> float:
        return max(self.initial_thermostat(), 1e-3)

    def decay(self, h):
        """Share of the momentum that a step keeps, without gradient noise."""
        return jnp.exp(-self._friction * h)

    def noise_step(self, excess):
        """See :meth:`UnitMass.noise_step`."""
        return Langevin(friction=self._friction).noise_step(excess)

    def advance(self, rng_key, t, x, u, grad, step_size, variance, noise):
        """One step; `u` is the pair of displacement and thermostat."""
        u, thermostat = u
        h, n = step_size, _size(u)
        limit = ADAPTIVE_STEP / (h * h * n * self.tau)
        coupling = jnp.minimum(self.coupling, limit)
        sd = self._sigma * h * jnp.sqrt(0.5 * h)
        w = self.kicked(u, grad, h)
        first = _noise(noise, rng_key, u, sd, t)
        second = _noise(noise, rng_key, u, sd, t + 1)
        c = jnp.exp(-0.5 * h * thermostat)
        middle = jax.tree.map(lambda w, r: c * w + r, w, first)
        gap = _dot(middle) / (h * h) - n * self.tau
        thermostat = thermostat + h * coupling * gap
        c = jnp.exp(-0.5 * h * thermostat)
        u = jax.tree.map(lambda m, r: c * (m + r), middle, second)
        return _move(x, w, u), (u, thermostat)
