# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Groups of parameters, each with its own dynamics, moved by one gradient.

A :class:`Partition` is itself a dynamics: its positions, gradients, momenta, scales and
noise variances are tuples with an entry for each group.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.dynamics.protocol import GroupDynamics
from numpyro_pl.trees.arithmetic import mean_of
from numpyro_pl.trees.increments import Increments

__all__ = ["Partition"]


class Partition(GroupDynamics):
    """
    Dynamics by group.

    :param members: the dynamics of each group, bound to a kernel.
    """

    def __init__(self, members: Sequence[GroupDynamics]):
        self.members = tuple(members)
        ends = np.cumsum([0] + [m.num_streams for m in self.members])
        self._first_streams = [int(x) for x in ends[:-1]]
        self.num_streams = int(ends[-1])
        # Groups share a minibatch, and the friction of one would act on the noise of
        # another.
        alone = len(self.members) == 1
        self.uses_friction = alone and self.members[0].uses_friction
        self.tracks_noise = any(m.tracks_noise for m in self.members)

    @property
    def temperature(self):
        """Target temperature: a scalar for one group, else an array."""
        return self._stack([jnp.asarray(m.temperature) for m in self.members])

    @property
    def warmup_sets_scales(self) -> bool:
        """Whether the warmup sets the scales of any group."""
        return any(m.warmup_sets_scales for m in self.members)

    def at_temperature(self, temperature) -> "Partition":
        """
        These dynamics at other temperatures.

        :param temperature: a scalar for one group, else an array with one for each.
        """
        one = len(self.members) == 1
        each = [temperature] if one else list(temperature)
        pairs = zip(self.members, each, strict=True)
        return Partition([m.at_temperature(t) for m, t in pairs])

    def at_pace(self, friction, noise_fraction) -> "Partition":
        """These dynamics with another friction and bound, common to all groups."""
        return Partition([m.at_pace(friction, noise_fraction) for m in self.members])

    def choose_scales(self, noise_variance, curvature):
        """Scales of each group."""
        return self._each(
            lambda m, v, h: m.choose_scales(v, h), noise_variance, curvature
        )

    def shrink(self, scales, factor):
        """Scales with all squared frequencies times `factor`."""
        return self._each(lambda m, s: m.shrink(s, factor), scales)

    def limited(self, scales, noise_variance, momentum):
        """See :meth:`GroupDynamics.limited`."""
        return self._each(
            lambda m, s, v, u: m.limited(s, v, u), scales, noise_variance, momentum
        )

    def bulk_and_peak(self, momentum, scales):
        """See :meth:`GroupDynamics.bulk_and_peak`: scalars, or arrays by group."""
        each = self._each(lambda m, u, s: m.bulk_and_peak(u, s), momentum, scales)
        return tuple(self._stack(values) for values in zip(*each, strict=True))

    def evened(self, scales, ratio):
        """See :meth:`GroupDynamics.evened`."""
        return self._each(lambda m, s: m.evened(s, ratio), scales)

    def rescaled(self, momentum, old, new):
        """Momenta after the scales have changed."""
        return self._each(lambda m, u, a, b: m.rescaled(u, a, b), momentum, old, new)

    def squared_frequency(self, scales):
        """Factors from the Hessian to squared frequencies, by group."""
        return self._each(lambda m, s: m.squared_frequency(s), scales)

    def noise_shares(self, scales, noise_variance):
        """Share of the thermostat's noise from the minibatches, by group."""
        return self._each(lambda m, s, v: m.noise_shares(s, v), scales, noise_variance)

    def mean_noise_shares(self, scales, noise_variance) -> jax.Array:
        """Mean noise share of each group: a scalar for one group, else an array."""
        return self._stack(
            self._each(lambda m, s, v: m.mean_noise_share(s, v), scales, noise_variance)
        )

    def kept_variance(self, noise_variance):
        """The noise variance that each group stores: the mean if it tracks no noise."""
        return self._each(
            lambda m, v: v if m.tracks_noise else mean_of(v), noise_variance
        )

    def bounded_variance(self, scales, noise_variance):
        """
        The tracked noise variance, capped at the value that gives the requested noise
        fraction: a divergence may have corrupted it.
        """

        def bounded(member, s, v):
            if not member.tracks_noise:
                return v
            unit = member.noise_shares(s, jax.tree.map(jnp.ones_like, v))
            return jax.tree.map(
                lambda v, u: jnp.fmin(v, member.noise_fraction / u), v, unit
            )

        return self._each(bounded, scales, noise_variance)

    def draw_momentum(self, increments: Increments, scales, like, previous=None):
        """Thermal momenta."""
        before = (None,) * len(self.members) if previous is None else previous
        rows = zip(self.members, scales, like, before, strict=True)
        return tuple(
            m.draw_momentum(_from_stream(increments, i), s, x, u)
            for i, (m, s, x, u) in enumerate(rows)
        )

    def step(self, increments, position, momentum, gradient, scales, noise_variance):
        """One step of all groups."""
        streams = tuple(_from_stream(increments, i) for i in self._first_streams)
        results = self._each(
            lambda m, *args: m.step(*args),
            streams,
            position,
            momentum,
            gradient,
            scales,
            noise_variance,
        )
        return tuple(x for x, _ in results), tuple(u for _, u in results)

    def kinetic_temperature(self, momentum, gradient, scales, noise_variance):
        """Kinetic temperature: a scalar for one group, else an array."""
        values = self._each(
            lambda m, *args: m.kinetic_temperature(*args),
            momentum,
            gradient,
            scales,
            noise_variance,
        )
        return self._stack(values)

    def friction_excess(self, scales, noise_variance):
        """See :meth:`GroupDynamics.friction_excess`."""
        return self._stack(
            self._each(lambda m, s, v: m.friction_excess(s, v), scales, noise_variance)
        )

    def read(self, position, momentum):
        """The draws that belong to gradient positions."""
        return self._each(lambda m, x, u: m.read(x, u), position, momentum)

    def resume(self, draw, momentum):
        """The gradient positions after draws."""
        return self._each(lambda m, z, u: m.resume(z, u), draw, momentum)

    def thermostat(self, momentum) -> jax.Array:
        """Thermostat variables: a scalar for one group, else an array."""
        return self._stack(self._each(lambda m, u: m.thermostat(u), momentum))

    def track_noise(self, noise_variance, halves, fraction, rate):
        """Noise variances after a measured step."""
        return self._each(
            lambda m, v, a, b: m.track_noise(v, (a, b), fraction, rate),
            noise_variance,
            *halves,
        )

    def _each(self, fn: Callable, *groups) -> tuple:
        rows = zip(self.members, *groups, strict=True)
        return tuple(fn(*row) for row in rows)

    def _stack(self, values: Sequence[Any]):
        return values[0] if len(values) == 1 else jnp.stack(values)


def _from_stream(increments: Increments, number: int) -> Increments:
    return increments._replace(stream=increments.stream + number)
