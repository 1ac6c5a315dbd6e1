# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The potential on a sample of the rows."""

import math

import jax
import jax.numpy as jnp

from numpyro_pl.kernels.binding import Binding
from numpyro_pl.kernels.layout import Layout, WhitenedLayout
from numpyro_pl.model.control_variate import Anchor, anchored_potential
from numpyro_pl.model.indices import Indices
from numpyro_pl.model.potential import Data, MinibatchPotential
from numpyro_pl.trees.arithmetic import Tree

__all__ = ["relative_estimate", "sample_of_rows"]

ESTIMATE_ROWS, PARTS = 32, 16
"""Rows per coordinate from which the potential of a draw is estimated relative to an
anchor, and the number of parts of them that tell its error."""


def sample_of_rows(
    potential: MinibatchPotential, rng_key: jax.Array, num_rows: int, num_parts: int
) -> Indices:
    """
    Rows drawn at random, in parts as :meth:`MinibatchPotential.parts` has them.

    :param MinibatchPotential potential: the potential, with subsampled plates.
    :param rng_key: a PRNG key.
    :param int num_rows: least number of rows of the plate with the smallest minibatch.
    :param int num_parts: number of parts.
    """
    smallest = min(plate.subsample_size for plate in potential.plates.values())
    batches = potential.draw_indices(rng_key, math.ceil(num_rows / smallest))
    return potential.parts(batches, num_parts)


def relative_estimate(
    rng_key: jax.Array,
    binding: Binding,
    data: Data,
    layout: Layout | WhitenedLayout,
    anchor: Anchor,
    z: Tree,
) -> tuple[jax.Array, jax.Array]:
    """
    Unbiased estimate of the potential relative to an anchor, and its standard error.

    :param rng_key: a PRNG key.
    :param Binding binding: the target.
    :param Data data: the data.
    :param layout: the layout whose coordinates the anchor has.
    :param Anchor anchor: the anchor.
    :param z: the position.
    """
    potential, position = binding.potential, layout.pack(z)
    assert isinstance(potential, MinibatchPotential)
    parts = sample_of_rows(potential, rng_key, ESTIMATE_ROWS * layout.size, PARTS)

    def energy_of(rows):
        def energy(groups):
            return potential(layout.unpack(groups), rows, *data)

        return anchored_potential(energy, anchor)(position)

    energies = jax.vmap(energy_of)(parts)
    return jnp.mean(energies), jnp.std(energies) / (PARTS - 1) ** 0.5
