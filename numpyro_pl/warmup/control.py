# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Control of a chain between events: when a block of steps was bad, when steps are too
long, and when a potential is too high to go on from.

Scales that suit one place may be far too large a moment later: near a mode of a network
that fits its data, noise and curvature are tiny; where it does not, a hundred times
larger. So every chain has a factor of its own, at most 1, by which all its squared
frequencies are reduced. Its first value is small. In warmup it grows slowly, shrinks
when the chain is hot, and shrinks a lot when the chain must go back.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = [
    "Control",
    "after_block",
    "concentrated",
    "first_control",
    "hot",
    "judged",
    "remainder_rate",
    "runaway",
    "with_less_noise",
    "with_ratio",
    "with_remainder",
]

FIRST_FACTOR = 0.1
"""Factor of a chain at its start, unless it starts in equilibrium."""

SHRINK_HOT, SHRINK_BAD = 0.8, 0.35
"""What a block does to the factor if the chain is hot, and if it must go back."""

PEAK, PEAK_BY_SIZE = 50.0, 0.01
"""Squared momentum of one coordinate, relative to its mean in equilibrium, from which a
chain in warmup must go back (one of 10^12 by chance), and after warmup at 20 times as
much. The second, times the number of coordinates, is added: one of a million may be hot
without harm, and often one is."""

NO_RATIO, FIRST_RATIO, LEAST_RATIO = 1e30, 1e6, 10.0
"""Bound on rates relative to those of their array: at the start, at most after a few
coordinates were hot, and at least."""

SHRINK_RATIO, GROW_RATIO = 0.5, 1.02
"""What a block does to this bound if the chain went back since a few coordinates were
hot, and else in the first half of the warmup."""

TOO_HOT = 3.0
"""Configurational temperature, relative to the target's, above which a chain is not in
equilibrium; one over it, below which it is not."""

SMALLEST_FACTOR = 1e-8
"""Least factor: steps this short never fail, whatever goes wrong is something else."""

BELOW_BAD, BELOW_HOT, RECOVERY = 0.7, 0.9, 1.007
"""Bound on the factor after it was too large once, relative to that value, and the
growth of this bound with each block: large factors are tried again, but not soon."""

REMAINDER_RATE, MANY_COORDINATES = 0.6, 5000.0
"""Change of the remainder with a block at twice the temperature, and the number of
coordinates from which the temperature of one block is known well enough for that."""

WHITE_RATE = 0.1
"""The same where coordinates are whitened, at least."""

FOLLOW = 0.1
"""Share by which the reference potential follows a higher one at each draw."""


class Control(NamedTuple):
    """
    Variables of the control of a chain, scalars.

    - **factor** - factor on all squared frequencies, in (0, 1].
    - **bound** - bound on the factor, in (0, 1].
    - **reference** - a potential at which the chain was lately, in nats.
    - **descending** - whether the chain descends in the first part of warmup; a start
      that is not hot stays where it is.
    - **ratio** - bound on the rate of a coordinate, relative to the harmonic mean of
      its array.
    - **remainder** - share of the minibatch noise, in [0, 1], that friction from the
      examples does not balance and the thermostat leaves out.
    """

    factor: jax.Array
    bound: jax.Array
    reference: jax.Array
    descending: jax.Array
    ratio: jax.Array
    remainder: jax.Array


def first_control(potential_energy: jax.Array, heat) -> Control:
    """
    Control of a chain at its start.

    :param potential_energy: potential at the start, in nats.
    :param heat: configurational temperature there, relative to the target's.
    """
    dtype = potential_energy.dtype
    descending = ~(heat < TOO_HOT)
    settled = ~descending & (heat > 1 / TOO_HOT)
    return Control(
        jnp.where(settled, 1.0, FIRST_FACTOR).astype(dtype),
        jnp.ones((), dtype),
        potential_energy,
        descending,
        jnp.full((), NO_RATIO, dtype),
        jnp.zeros((), dtype),
    )


def runaway(
    kinetic: jax.Array, peak: Any, temperature, sizes: Any, warming
) -> jax.Array:
    """
    Whether a block was so hot that the chain must go back. In equilibrium that does not
    happen: one coordinate alone would have to have 40 times its mean energy.

    :param kinetic: mean kinetic temperature of the block, by group.
    :param peak: kinetic temperature of the hottest coordinate, by group.
    :param temperature: temperature of the target, by group.
    :param sizes: number of coordinates, by group.
    :param warming: whether this is in warmup.
    """
    limit = jnp.where(warming, 3.0 + 40.0 / sizes, 100.0 + 100.0 / sizes)
    peak_limit = jnp.where(warming, 1.0, 20.0) * (PEAK + PEAK_BY_SIZE * sizes)
    flies = peak > peak_limit * temperature
    return jnp.any(flies | (kinetic > limit * temperature))


def hot(kinetic: jax.Array, temperature, sizes: Any) -> jax.Array:
    """
    Whether a block was hot: its steps are too long. In equilibrium that happens in one
    block of a million, if the energy of its coordinates is that of one moment.
    """
    return jnp.any(kinetic > _warm(sizes) * temperature)


def _warm(sizes: Any) -> jax.Array:
    """The highest kinetic temperature that is not hot, relative to the target's."""
    return 1.2 + 5.0 * jnp.sqrt(2.0 / sizes) + 15.0 / sizes


def concentrated(bulk: jax.Array, peak, temperature, sizes: Any) -> jax.Array:
    """
    Whether a block is hot because a few coordinates are: those of a unit of a network
    that was saturated, without noise and curvature, and wakes. Their steps are too long
    then, and those of the others need not follow.

    :param bulk: kinetic temperature at the end of the block if hot coordinates counted
        as warm, by group.
    :param peak: kinetic temperature of the hottest coordinate, by group.
    :param temperature: temperature of the target, by group.
    :param sizes: number of coordinates, by group.
    """
    is_warm = jnp.all(bulk <= _warm(sizes) * temperature)
    return is_warm & jnp.any(peak > PEAK * temperature)


def after_block(control: Control, bad, is_hot, growth: float = 1.0) -> Control:
    """
    The control after a block of warmup.

    :param float growth: growth of the factor if nothing is wrong.
    :param bad: whether the chain went back.
    :param is_hot: whether it was hot.
    """
    factor, bound = control.factor, control.bound * RECOVERY
    bound = jnp.where(is_hot, BELOW_HOT * factor, bound)
    bound = jnp.minimum(jnp.where(bad, BELOW_BAD * factor, bound), 1.0)
    grown = jnp.where(is_hot, SHRINK_HOT, growth) * factor
    new = jnp.where(bad, SHRINK_BAD * factor, jnp.minimum(grown, bound))
    new, bound = (jnp.maximum(x, SMALLEST_FACTOR) for x in (new, bound))
    return control._replace(factor=new, bound=bound)


def with_ratio(control: Control, flew, burning_in) -> Control:
    """
    The control with a bound on the spread of rates that follows single coordinates.
    What the second half of the warmup has found too large is not tried again.

    :param flew: whether the chain went back because a few of them were hot.
    :param burning_in: whether this is the first half of the warmup.
    """
    ratio = control.ratio
    shrunk = jnp.clip(SHRINK_RATIO * ratio, LEAST_RATIO, FIRST_RATIO)
    grows = burning_in & (ratio < FIRST_RATIO)
    grown = jnp.where(grows, GROW_RATIO * ratio, ratio)
    return control._replace(ratio=jnp.where(flew, shrunk, grown))


def with_less_noise(control: Control, ratio: float) -> Control:
    """
    The control when minibatches may supply `ratio` times less noise than before: where
    noise limits the steps, the same steps now belong to a larger factor. Friction from
    the examples leaves less of the noise, and the thermostat has less to leave out: by
    the root of the ratio, between the ratio itself (weak friction) and 1 (strong). To
    find out would take a hundred blocks, in which chains are too cold.
    """
    factor, bound = (
        jnp.minimum(ratio * x, 1.0) for x in (control.factor, control.bound)
    )
    remainder = control.remainder / jnp.sqrt(ratio)
    return control._replace(factor=factor, bound=bound, remainder=remainder)


def remainder_rate(size: float, is_white: bool) -> float:
    """
    Change of the remainder with a block at twice the temperature.

    :param float size: number of coordinates.
    :param bool is_white: whether they are whitened; draws are then short and nearly
        independent, and the temperature of one block says more.
    """
    rate = REMAINDER_RATE * size / (size + MANY_COORDINATES)
    return max(rate, WHITE_RATE) if is_white else rate


def with_remainder(control: Control, kinetic, temperature, rate: Any) -> Control:
    """
    The control after a good block of warmup, whose temperature shows whether the
    thermostat leaves out too much or too little.

    Friction from the examples is applied only in part where it is strong, and the noise
    left over heats. How much the thermostat must leave out for that is not the amount
    of this noise: it is concentrated in a few directions, and these are damped more
    than others. Leaving out as much cooled a network of 600 weights by 7 % at a noise
    fraction of 0.5.

    :param kinetic: mean kinetic temperature of the block, by group.
    :param temperature: temperature of the target, by group.
    :param rate: see :func:`remainder_rate`.
    """
    change = rate * (jnp.mean(kinetic / temperature) - 1)
    return control._replace(remainder=jnp.clip(control.remainder + change, 0.0, 1.0))


def judged(
    control: Control, potential_energy, before, size: float, temperature, warming
) -> tuple[jax.Array, Control]:
    """
    Judge the potential at the end of a draw.

    The reference follows the potential down at once and up slowly. From a mode, where a
    descent ends, to equilibrium the potential rises by half of `size` temperatures. A
    potential of another quarter and 30 above that is no place to continue from: the
    quarter alone is `sqrt(size / 8)` standard deviations in equilibrium. After warmup
    only one still higher is a divergence, since draws are kept.

    :param potential_energy: potential at the end of the draw, in nats.
    :param before: potential at its start, to which a bad draw goes back.
    :param float size: number of coordinates.
    :param temperature: the highest temperature of the groups.
    :param warming: whether this is in warmup.
    :return: (whether the draw is bad, control after it).
    """
    height = jnp.where(warming, 0.75 * size + 30.0, size + 120.0) * temperature
    bad = ~(potential_energy <= control.reference + height)
    followed = control.reference + FOLLOW * (potential_energy - control.reference)
    reference = jnp.minimum(potential_energy, followed)
    # A chain that goes back again and again need not be wrong: the reference may be too
    # low, by the error of an estimate. So it follows the potential where the chain is.
    higher = jnp.maximum(before - control.reference, 0.0)
    reference = jnp.where(bad, control.reference + FOLLOW * higher, reference)
    again = after_block(control, bad, False)
    # A good draw leaves the factor alone: its blocks have changed it already.
    factor, bound = (
        jnp.where(bad & warming, new, old)
        for new, old in ((again.factor, control.factor), (again.bound, control.bound))
    )
    return bad, control._replace(factor=factor, bound=bound, reference=reference)
