# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A number of steps that is known only when they are taken."""

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.integrate import (
    MinibatchGradient,
    Phase,
    Trajectory,
    integrate,
)
from numpyro_pl.dynamics.protocol import GroupDynamics, no_temperature
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.random_bits import fold_in

__all__ = ["PIECE", "integrate_all_or_none", "integrate_in_pieces"]

PIECE = 10
"""Steps for which minibatches are drawn at a time where their number is not known."""


def integrate_in_pieces(
    rng_key: jax.Array,
    dynamics: GroupDynamics,
    gradient: MinibatchGradient,
    start: Phase,
    scales: Tree,
    trajectory: Trajectory,
    length: int,
) -> tuple[Phase, jax.Array]:
    """
    :func:`integrate`, with minibatches drawn for some steps at a time: for a number of
    steps known only when they are taken.

    :param int length: steps of a piece; the number of steps is rounded up to a multiple
        of it, and may be larger than the trajectory's.
    """
    num_taken = trajectory.num_taken
    num = -(-(trajectory.num_steps if num_taken is None else num_taken) // length)
    piece = trajectory._replace(num_steps=length, num_taken=None)

    def advance(j, carry):
        phase, total = carry
        key = fold_in(rng_key, j)
        phase, kinetic = integrate(key, dynamics, gradient, phase, scales, piece)
        return phase, total + kinetic

    carry = start, no_temperature(dynamics, start.position)
    end, total = lax.fori_loop(0, num, advance, carry)
    return end, total / jnp.maximum(num, 1)


def integrate_all_or_none(
    rng_key: jax.Array,
    dynamics: GroupDynamics,
    gradient: MinibatchGradient,
    start: Phase,
    scales: Tree,
    trajectory: Trajectory,
) -> tuple[Phase, jax.Array]:
    """
    :func:`integrate`, or no step where the trajectory takes none. A condition that is
    mapped over chains would compute both; the loops within have a known length.
    """

    def advance(j, carry):
        return integrate(rng_key, dynamics, gradient, carry[0], scales, trajectory)

    carry = start, no_temperature(dynamics, start.position)
    return lax.fori_loop(0, jnp.where(trajectory.num_taken > 0, 1, 0), advance, carry)
