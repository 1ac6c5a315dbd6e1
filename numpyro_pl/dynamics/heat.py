# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Coordinates that are hot by themselves, and rates that prevent it.

The weights of a unit that is saturated show neither noise nor curvature, and their
rates are those of the prior. When it wakes, they are far too large: a few coordinates
become a hundred or a thousand times too hot, while all the others are warm.
"""

from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree, as_in, mean_of

__all__ = ["bulk_and_peak", "evened", "slowed"]

HOT, MOST = 25.0, 1e4
"""Squared momentum of a coordinate, relative to its mean in equilibrium, from which it
is hot by itself (one of two million is by chance), and the most that counts."""


def heat(momentum: Tree, rates: Tree, unit: Any) -> Tree:
    """
    Squared momenta relative to their mean in equilibrium; what is not finite counts as
    the most.

    :param momentum: the momentum, a tree of displacements.
    :param rates: displacements by a unit force.
    :param unit: a unit rate over the mean square of its displacement.
    """

    def leaf(u, a):
        value = as_in(unit, u) * jnp.square(u) / a
        return jnp.where(value < MOST, value, MOST)

    return jax.tree.map(leaf, momentum, rates)


def bulk_and_peak(momentum: Tree, rates: Tree, unit: Any) -> tuple[Any, Any]:
    """
    The mean of :func:`heat` if hot coordinates counted as just not hot, and the
    largest.
    """
    found = heat(momentum, rates, unit)
    bulk = mean_of(jax.tree.map(lambda e: jnp.minimum(e, HOT), found))
    return bulk, jnp.max(jnp.stack([jnp.max(e) for e in jax.tree.leaves(found)]))


def slowed(rates: Tree, momentum: Tree, unit: Any) -> Tree:
    """Rates, those of hot coordinates reduced in proportion to their heat."""
    found = heat(momentum, rates, unit)
    return jax.tree.map(lambda a, e: a / jnp.maximum(e / HOT, 1.0), rates, found)


def evened(rates: Tree, ratio: Any) -> Tree:
    """
    Rates that are at most `ratio` times the harmonic mean of their array. Rates of zero
    do not count.

    :param ratio: a number of at least 1.
    """

    def leaf(a):
        inverse = 1.0 / a
        mean = jnp.mean(jnp.where(jnp.isfinite(inverse), inverse, 0.0))
        return 1.0 / jnp.maximum(inverse, mean / as_in(ratio, a))

    return jax.tree.map(leaf, rates)
