# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How many times longer draws are made for chains that mix slowly.

A draw is one pass over the data, or 100 steps if that is more. Where chains need many
such draws to forget their past, as in small networks whose data fits them tightly, a
run of the usual number of draws ends before the chains agree. So the correlation of the
numbers in which chains are compared (:mod:`numpyro_pl.warmup.settling`) is measured in
the warmup: from the means of its third and fourth quarters, of all chains, whose
variance is that of single draws times the correlation time over their number. The
slowest of them counts, unless chains stay in places too far apart to meet.
"""

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import SMALL
from numpyro_pl.warmup.pooling import OneChain
from numpyro_pl.warmup.settling import FEWEST_DRAWS, Settling

__all__ = ["largest_stretch", "stretched"]

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


def largest_stretch(num_steps: int, size: int) -> int:
    """
    How many times longer draws may become.

    :param int num_steps: their usual number of steps.
    :param int size: number of coordinates.
    """
    longest = LONGEST_DRAW if size <= SMALL else LONGEST_OF_LARGE
    return min(max(longest // num_steps, 1), LARGEST_STRETCH)


def stretched(
    settling: Settling, draw, num_warmup: int, most: int, chains: OneChain
) -> Settling:
    """
    The record with the stretch for the draws to come: set when three quarters of the
    warmup are over, if there are several chains to compare, and again at its end.

    :param Settling settling: the record after a draw.
    :param draw: number of the draw.
    :param int num_warmup: number of warmup draws.
    :param int most: largest stretch.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    count = settling.num_draws
    within = jnp.sum(settling.square, 0) / jnp.maximum(jnp.sum(count) - 2, 1)
    within = chains.mean(within)
    third, both = _between(settling.mean, settling.stretch, chains)
    way = chains.mean(jnp.square(settling.mean[1] - settling.mean[0]))
    at_end = draw == num_warmup - 1
    between = jnp.where(at_end, both, third)
    meet = ~at_end | (both <= OUT_OF_REACH * way)
    share = jnp.max(jnp.where(meet, between / (between + within + 1e-30), 0.0))
    longer = settling.stretch * count[0] * share / CORRELATED_DRAWS
    # Where a value was not finite, so is the share, and nothing changes.
    new = jnp.where(longer > 1, jnp.ceil(MARGIN * longer), 1.0)
    bound = jnp.where(at_end, most, min(most, WARMUP_STRETCH))
    new = jnp.minimum(new, bound)
    now = (at_end | (draw == (3 * num_warmup) // 4 - 1)) & (count[0] >= FEWEST_DRAWS)
    stretch = jnp.where(now, new.astype(settling.stretch.dtype), settling.stretch)
    return settling._replace(stretch=stretch)


def _between(
    means: jax.Array, stretch: jax.Array, chains: OneChain
) -> tuple[jax.Array, jax.Array]:
    """
    Variances of the means of the quarters, of each number, in terms of the draws of the
    last one.

    :param means: means of a chain, of shape (2, numbers).
    :param stretch: that of the draws of the last quarter. Those of the third are
        shorter, so that the variance of their means is larger by this factor.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    :return: variance in the third quarter between chains, and of all means.
    """
    num = chains.number()
    centre = chains.mean(means)
    third = chains.mean(jnp.square(means[0] - centre[0]))
    square = jnp.square(means - jnp.mean(centre, 0))
    both = chains.mean((square[0] / stretch + square[1]) / 2)
    return third * num / max(num - 1, 1), both * 2 * num / (2 * num - 1)
