# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
The bias of steps that are too long where the curvature varies.

Draws of pseudo-Langevin dynamics are exact where the curvature is the same everywhere.
But gradients are taken half a step from the draws, where a coordinate of squared
frequency :math:`\omega^2 = h^2 H_{ii} / M_i` has a variance that is larger by
:math:`\omega^2 / 4`, and where the curvature depends on the position, so does this
excess: it pulls the chain to where the curvature is low. To second order in the step,
draws have the potential :math:`U + T E` with the *shadow energy*

.. math::

    E(x) = \tfrac{1}{8} \operatorname{tr}\left(h^2 M^{-1} H(x)\right) .

A constant changes nothing. To first order in E, a function f of the draws is off by its
covariance with E: by at most as many of its standard deviations as E has. Effects of
many groups are all steep where their common scale is small, and E is largest there. In
a network E sums over directions that vary on their own, and hardly changes.

So the spread of E is measured in the second half of the warmup, and steps become
shorter where the curvature bounds them until it is small.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.protocol import required
from numpyro_pl.dynamics.pseudo_langevin import (
    KickLastPseudoLangevin,
    PseudoLangevinDynamics,
)
from numpyro_pl.trees.arithmetic import SMALL, Tree, tree_dot
from numpyro_pl.trees.increments import sign_probes
from numpyro_pl.trees.random_bits import split
from numpyro_pl.warmup.curvature import HessianProducts, in_steps
from numpyro_pl.warmup.pooling import OneChain

__all__ = [
    "WIDEST",
    "Shadow",
    "first_shadow",
    "is_too_wide",
    "is_watched",
    "shadow_energies",
    "with_draw",
    "with_new_bound",
]

PROBES = 4
"""Random vectors that give the trace, each with a minibatch of its own. They are the
same at all draws: what they get wrong is then nearly the same everywhere, and counts
little in the spread."""

AIM, TOO_WIDE, WIDEST = 0.05, 0.08, 0.25
"""Spread of the shadow energy that is aimed at, that from which scales are set more
often, and that from which a run warns."""

FEWEST = 10
"""Draws that tell the spread."""

LEAST_CHANGE, LEAST_SHARE = 0.1, 0.01
"""Least factor on the share at one event, and least share."""


class Shadow(NamedTuple):
    """
    What a chain remembers of the shadow energy since the last event of its warmup.

    - **num_draws** - number of draws.
    - **mean** - mean energy by each probe.
    - **product** - sums of products of their deviations, of shape (probes, probes).
    - **spread** - standard deviation of the energy, over all chains; 0: not known.
    - **share** - share of the largest squared frequency that the curvature may give a
      coordinate.
    """

    num_draws: jax.Array
    mean: jax.Array
    product: jax.Array
    spread: jax.Array
    share: jax.Array


def first_shadow(dtype: Any) -> Shadow:
    """An empty record, for numbers of some type."""
    none = jnp.zeros((), dtype)
    return Shadow(
        none,
        jnp.zeros(PROBES, dtype),
        jnp.zeros((PROBES, PROBES), dtype),
        none,
        jnp.ones((), dtype),
    )


def is_watched(dynamics: Partition, size: int) -> bool:
    """
    Whether the shadow energy is measured: where one group of pseudo-Langevin dynamics
    has steps that the warmup sets, in a small model. Large ones are networks, without
    scales that bind all coordinates, and their noise makes the steps short.
    """
    first, *others = dynamics.members
    alone = not others and isinstance(first, PseudoLangevinDynamics)
    # This one takes gradients where draws are read.
    alone = alone and not isinstance(first, KickLastPseudoLangevin)
    return alone and first.warmup_sets_scales and size <= SMALL


def shadow_energies(
    dynamics: Partition, gradient: MinibatchGradient, position: Tree, scales: Tree
) -> jax.Array:
    """
    The shadow energy at a position by each probe, a number without a unit.

    :param Partition dynamics: the dynamics, with one group.
    :param MinibatchGradient gradient: the gradient.
    :param position: the position.
    :param scales: the scales of the dynamics.
    """
    key_batch, key_probe = split(random.key(0))
    products = HessianProducts.fresh(key_batch, gradient, position, PROBES)
    bound = required(dynamics.members[0], "max_frequency")

    signs = sign_probes(key_probe, position, PROBES)

    def by_probe(t):
        probe = in_steps(dynamics, scales, signs(t))
        return bound**2 / 8 * tree_dot(probe, products.product(t, probe))

    return lax.map(by_probe, jnp.arange(PROBES))


def with_draw(
    shadow: Shadow, energies: jax.Array, counts: Any, chains: OneChain
) -> Shadow:
    """
    The record after a draw.

    :param energies: those of :func:`shadow_energies`.
    :param counts: whether the draw counts: one that diverged does not.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    counts &= jnp.all(jnp.isfinite(energies))
    num = shadow.num_draws + counts
    step = jnp.where(counts, energies - shadow.mean, 0.0)
    mean = shadow.mean + step / jnp.maximum(num, 1)
    left = jnp.where(counts, energies - mean, 0.0)
    product = shadow.product + jnp.outer(step, left)
    new = shadow._replace(num_draws=num, mean=mean, product=product)
    return new._replace(spread=_spread(new, chains))


def _spread(shadow: Shadow, chains: OneChain) -> jax.Array:
    """
    Standard deviation of the energy in all chains: the covariance of two probes is the
    variance of what they have in common.
    """
    far = shadow.mean - chains.mean(shadow.mean)
    total = chains.mean(shadow.product + shadow.num_draws * jnp.outer(far, far))
    common = (jnp.sum(total) - jnp.trace(total)) / (PROBES * (PROBES - 1))
    num = chains.mean(shadow.num_draws)
    variance = jnp.maximum(common, 0.0) / jnp.maximum(num, 1)
    return jnp.where(num >= FEWEST, jnp.sqrt(variance), 0.0)


def is_too_wide(shadow: Shadow) -> jax.Array:
    """
    Whether scales are to be set anew before the next event.

    :param Shadow shadow: that of a chain or of several, which know the same spread.
    """
    return jnp.max(shadow.spread) > TOO_WIDE


def with_new_bound(shadow: Shadow) -> Shadow:
    """
    The record at an event: empty, with a share that brings the spread to what is aimed
    at, since the energy is proportional to it.
    """
    change = AIM / jnp.maximum(shadow.spread, 1e-10)
    share = shadow.share * jnp.maximum(change, LEAST_CHANGE)
    share = jnp.clip(share, LEAST_SHARE, 1.0).astype(shadow.share.dtype)
    known = shadow.spread > 0
    empty = first_shadow(shadow.mean.dtype)
    return empty._replace(share=jnp.where(known, share, shadow.share))
