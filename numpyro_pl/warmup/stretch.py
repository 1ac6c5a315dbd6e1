# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How many times longer draws are made for chains that mix slowly, and the friction of
chains without minibatches.

A draw is one pass over the data, or 100 steps if that is more. Where chains need many
such draws to forget their past, as in small networks whose data fits them tightly, a
run of the usual number of draws ends before the chains agree. So the correlation of the
numbers in which chains are compared (:mod:`numpyro_pl.warmup.settling`) is measured in
the warmup: from the means of its third and fourth quarters, of all chains, whose
variance is that of single draws times the correlation time over their number. The
slowest of them counts, unless chains stay in places too far apart to meet.

A mode of frequency w (radians per step) has a correlation time of `2 friction / w^2`
steps, and its energy is forgotten in `1 / friction`. Minibatches need a small friction,
since their noise is a share of the thermostat's. Without them the warmup sets it, so
that energies are forgotten within a draw, however long the slowest mode makes it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import SMALL
from numpyro_pl.warmup.pooling import OneChain
from numpyro_pl.warmup.settling import FEWEST_DRAWS, FIRST_FRICTION, Settling

__all__ = ["Length", "largest_stretch", "stretched"]

CORRELATED_DRAWS = 10.0
"""Draws per independent one of the slowest number from which draws are made longer.
Four chains of a thousand draws are then worth 400; what is measured on chains that mix
well stays below it by chance."""

MARGIN = 2.5
"""How many times longer than the estimate says, once draws become longer: of a memory
as long as itself a quarter of the warmup shows only a part, and few chains show it
roughly. A network regression 10-50-1, whose draws the estimate alone made twice as
long, had 58 effective ones of 4,000 with one key and 416 with another."""

LARGEST_STRETCH, WARMUP_STRETCH = 20, 3
"""With at most five times the usual steps two small networks ended with R-hats of 1.08
and 1.18. The warmup, of which the last quarter may be longer, costs at most half as
much again."""

OUT_OF_REACH = 30.0
"""Squared distance between chains, in units of the squared way that their means go from
one quarter to the next, from which they would not meet, however long the draws: they
forget where they are in 40 quarters, and a run of as many draws as the warmup has four,
each up to 20 times as long. Chains that have each settled in a mode of their own would
only take longer: 500 draws of a model of raters, whose classes may be exchanged, took
122 seconds and now take 56."""

LONGEST_DRAW, LONGEST_OF_LARGE = 2000, 500
"""Steps up to which draws become longer, in small models and in large ones, whose
weights never mix. NUTS makes 1,023 steps in networks that mix slowly, each on all of
the data."""


LEAST_FRICTION, MOST_FRICTION = 0.01, 0.1
"""Bounds on the friction per step of chains without minibatches. With 0.01 in draws of
10 steps, eight schools had 295 effective draws of 4,000 for a square, and with three
keys of ten divergences or a wrong temperature; with more of it with none. Models that
mix slowly (a walk of 500 days, a network) lose a factor of 8 in their slowest number
with 0.1."""


class Length(NamedTuple):
    """
    What the length and the friction of draws may become.

    - **num_warmup** - number of warmup draws.
    - **num_steps** - usual number of steps of a draw.
    - **most** - how many times longer it may become.
    - **sets_friction** - whether the friction is set.
    """

    num_warmup: int
    num_steps: int
    most: int
    sets_friction: bool


def largest_stretch(num_steps: int, size: int) -> int:
    """
    How many times longer draws may become.

    :param int num_steps: their usual number of steps.
    :param int size: number of coordinates.
    """
    longest = LONGEST_DRAW if size <= SMALL else LONGEST_OF_LARGE
    return min(max(longest // num_steps, 1), LARGEST_STRETCH)


def stretched(settling: Settling, draw, length: Length, chains: OneChain) -> Settling:
    """
    The record with the stretch and the friction for the draws to come: set when three
    quarters of the warmup are over, if there are several chains to compare, and again
    at its end.

    :param Settling settling: the record after a draw.
    :param draw: number of the draw.
    :param Length length: what they may become.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    at_end = draw == length.num_warmup - 1
    longer = settling.stretch * _correlated_draws(settling, at_end, chains)
    # A time that is not finite makes no draw longer.
    longer = jnp.where(longer > CORRELATED_DRAWS, longer / CORRELATED_DRAWS, 0.0)
    friction = settling.friction
    new = MARGIN * longer
    if length.sets_friction and chains.number() > 1:
        new, friction = _with_friction(new, friction, length.num_steps)
    bound = jnp.where(at_end, length.most, min(length.most, WARMUP_STRETCH))
    new = jnp.clip(jnp.ceil(new), 1, bound).astype(settling.stretch.dtype)
    now = at_end | (draw == (3 * length.num_warmup) // 4 - 1)
    now &= settling.num_draws[0] >= FEWEST_DRAWS
    return settling._replace(
        stretch=jnp.where(now, new, settling.stretch),
        friction=jnp.where(now, friction, settling.friction),
    )


def _with_friction(
    stretch: jax.Array, friction: jax.Array, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """
    The stretch with the friction at which energies are forgotten in a draw of that
    stretch, and this friction.

    :param stretch: the stretch with the present friction.
    :param friction: the present friction.
    :param int num_steps: usual number of steps of a draw.
    """
    most = min(max(1 / num_steps, LEAST_FRICTION), MOST_FRICTION)
    # Of the two unknowns one is the other's inverse, up to the bound.
    stretch = stretch / friction
    new = most / jnp.maximum(jnp.sqrt(stretch * most), 1.0)
    new = jnp.maximum(new, LEAST_FRICTION)
    return stretch * new, new


def _correlated_draws(settling: Settling, at_end, chains: OneChain) -> jax.Array:
    """
    Correlation time of the slowest number, in draws of the last quarter.

    :param Settling settling: the record after a draw.
    :param at_end: whether it was the last one of the warmup.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    count = settling.num_draws
    within = jnp.sum(settling.square, 0) / jnp.maximum(jnp.sum(count) - 2, 1)
    within = chains.mean(within)
    # Draws of the third quarter were shorter, and had the first friction.
    slower = settling.stretch * FIRST_FRICTION / settling.friction
    third, both = _between(settling.mean, slower, chains)
    way = chains.mean(jnp.square(settling.mean[1] - settling.mean[0]))
    between = jnp.where(at_end, both, third)
    meet = ~at_end | (both <= OUT_OF_REACH * way)
    share = jnp.max(jnp.where(meet, between / (between + within + 1e-30), 0.0))
    return count[0] * share


def _between(
    means: jax.Array, slower: jax.Array, chains: OneChain
) -> tuple[jax.Array, jax.Array]:
    """
    Variances of the means of the quarters, of each number, in terms of the draws of the
    last one.

    :param means: means of a chain, of shape (2, numbers).
    :param slower: how many times larger the variance of the means of the third is,
        because its draws are shorter or have another friction.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    :return: variance in the third quarter between chains, and of all means.
    """
    num = chains.number()
    centre = chains.mean(means)
    third = chains.mean(jnp.square(means[0] - centre[0]))
    square = jnp.square(means - jnp.mean(centre, 0))
    both = chains.mean((square[0] / slower + square[1]) / 2)
    return third * num / max(num - 1, 1), both * 2 * num / (2 * num - 1)
