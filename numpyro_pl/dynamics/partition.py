# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Groups of parameters, each with its own dynamics, moved by one gradient.

A :class:`Partition` has the interface of a single dynamics: positions, gradients, step
sizes and variances are tuples with an entry for each group, and a momentum is the pair
of the tuple of displacements and the array of thermostat variables.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.dynamics.unit_mass import mean_of

__all__ = ["Partition", "spread"]

Tree = Any


class Partition:
    """
    Dynamics by group.

    :param members: the dynamics of each group, bound to a model.
    """

    def __init__(self, members: Sequence[Any]):
        self.members = tuple(members)
        offsets = np.cumsum([0] + [m.num_streams for m in self.members])
        self._offsets = [int(x) for x in offsets]

    @property
    def tracks_noise(self) -> bool:
        """Whether any group follows the variance of the gradient noise."""
        return any(m.tracks_noise for m in self.members)

    @property
    def sets_steps(self) -> bool:
        """Whether any group leaves its step sizes to the warmup."""
        return any(getattr(m, "step_size", None) is None for m in self.members)

    def _stack(self, values: Sequence[Any]):
        """One value a group: a scalar for one group, else an array."""
        return values[0] if len(values) == 1 else jnp.stack(values)

    @property
    def temperature(self):
        """Target temperature: a scalar for one group, else an array."""
        values = [m.temperature for m in self.members]
        return values[0] if len(values) == 1 else np.array(values)

    def initial_thermostat(self, dtype) -> jax.Array:
        """Thermostat variables to start from; 0 in groups without."""
        values = [m.initial_thermostat() for m in self.members]
        return self._stack([jnp.asarray(v, dtype) for v in values])

    def adapted_thermostat(self, thermostat, step_size):
        """Thermostat variables after an adaptation."""
        values = [
            m.adapted_thermostat(self._thermostat(thermostat, i), a)
            for i, (m, a) in enumerate(zip(self.members, step_size, strict=True))
        ]
        return self._stack(values)

    def first_steps(self, like: Tree):
        """Step sizes of the right shapes, before there are any."""
        return self._each(lambda m, x: m.first_steps(x), like)

    def _thermostat(self, thermostat, i: int):
        return thermostat if len(self.members) == 1 else thermostat[i]

    def _momentum(self, u, i: int):
        displacement, thermostat = u
        if self.members[i].has_thermostat:
            return displacement[i], self._thermostat(thermostat, i)
        return displacement[i]

    def _each(self, fn: Callable, *groups) -> tuple:
        rows = zip(self.members, *groups, strict=True)
        return tuple(fn(*row) for row in rows)

    def step_sizes(self, noise_variance: Tree, curvature: Tree, noise_fraction):
        """Step sizes from noise and curvature, see the members."""
        return self._each(
            lambda m, v, h: m.step_sizes(v, h, noise_fraction),
            noise_variance,
            curvature,
        )

    def squared_frequency(self, step_size, like: Tree):
        """
        Factors from the Hessian to squared frequencies, in units of the largest one
        allowed: trees like `like`.
        """
        return self._each(
            lambda m, a, x: spread(m.squared_frequency(a), x), step_size, like
        )

    def shrunk(self, step_size, factor):
        """Step sizes with all squared frequencies times `factor`."""
        return self._each(lambda m, a: m.shrunk(a, factor), step_size)

    def noise_fractions(self, step_size, noise_variance):
        """Share of the thermostat's noise from the minibatches."""
        return self._each(
            lambda m, a, v: m.noise_fractions(a, v), step_size, noise_variance
        )

    def mean_noise_fraction(self, step_size, noise_variance, sizes: Sequence[int]):
        """Mean noise fraction over all coordinates, a scalar."""
        means = self._each(
            lambda m, a, v: m.mean_noise_fraction(a, v), step_size, noise_variance
        )
        weighted = sum(f * n for f, n in zip(means, sizes, strict=True))
        return weighted / sum(sizes)

    def reduced(self, noise_variance):
        """The noise variance as the groups keep it: the mean, where that will do."""
        return self._each(
            lambda m, v: v if m.per_coordinate else mean_of(v), noise_variance
        )

    def bounded_variance(self, step_size, variance):
        """Noise variances that a divergence has not spoilt."""
        return self._each(lambda m, a, v: m.bounded_variance(a, v), step_size, variance)

    def draw_displacement(self, rng_key, step_size, like, noise: str = "gaussian"):
        """Displacements of thermal momentum, like the position."""
        rows = enumerate(zip(self.members, step_size, like, strict=True))
        return tuple(
            m.draw_displacement(rng_key, a, x, i, noise) for i, (m, a, x) in rows
        )

    def track_noise(self, variance, first, second, fraction, rate):
        """Running noise variance after a measured step."""
        return self._each(
            lambda m, v, a, b: (
                m.track_noise(v, a, b, fraction, rate) if m.tracks_noise else v
            ),
            variance,
            first,
            second,
        )

    def advance(self, rng_key, t, x, u, grad, step_size, variance, noise):
        """One step of all groups."""
        results = [
            m.advance(
                rng_key,
                t * self._offsets[-1] + self._offsets[i],
                x[i],
                self._momentum(u, i),
                grad[i],
                step_size[i],
                variance[i],
                noise,
            )
            for i, m in enumerate(self.members)
        ]
        moved = tuple(x for x, _ in results)
        displacement, thermostat = [], []
        for i, (m, (_, momentum)) in enumerate(zip(self.members, results, strict=True)):
            if m.has_thermostat:
                momentum, value = momentum
            else:
                value = self._thermostat(u[1], i)
            displacement.append(momentum)
            thermostat.append(value)
        return moved, (tuple(displacement), self._stack(thermostat))

    def kinetic_temperature(self, u, grad, step_size, variance):
        """Kinetic temperature: a scalar for one group, else an array."""
        return self._stack(
            [
                m.kinetic_temperature(
                    self._momentum(u, i), grad[i], step_size[i], variance[i]
                )
                for i, m in enumerate(self.members)
            ]
        )

    def read(self, x, u):
        """The draws that belong to gradient positions."""
        return self._each(lambda m, x, u: m.read(x, u), x, u[0])

    def resume(self, z, u):
        """The gradient positions after draws."""
        return self._each(lambda m, z, u: m.resume(z, u), z, u[0])


def spread(value, like: Tree) -> Tree:
    """A scalar as a tree like `like`; a tree as it is."""
    if isinstance(value, jax.Array) and value.ndim == 0:
        return jax.tree.map(lambda _: value, like)
    return value
