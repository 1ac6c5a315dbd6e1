# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Second derivatives of a potential on the full data or on a sample of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.kernels.binding import Binding
from numpyro_pl.kernels.energies import sample_of_rows
from numpyro_pl.kernels.layout import Layout
from numpyro_pl.model.potential import Data, MinibatchPotential
from numpyro_pl.trees.arithmetic import row
from numpyro_pl.trees.derivatives import along

__all__ = ["full_hessian", "hessian_product"]

ROWS, LEAST_ROWS, MOST_ROWS = 4, 1024, 16_384
"""Rows per coordinate from which Hessian-vector products are taken, and bounds on their
number."""


def full_hessian(
    binding: Binding, data: Data, layout: Layout, x: jax.Array
) -> jax.Array:
    """
    Hessian of the potential on the full data, shape (n, n).

    :param Binding binding: the target.
    :param Data data: the data.
    :param Layout layout: a layout of one vector.
    :param x: where it is taken, shape (n,).
    """
    potential = binding.potential

    def of_rows(rows):
        def energy(x):
            return potential(layout.unpack((x,)), rows, *data)

        if rows is not None and binding.forward:
            return jax.hessian(energy)(x)
        # All rows at once: one column at a time, so that memory does not grow with the
        # number of coordinates too.
        columns = jnp.eye(x.size, dtype=x.dtype)
        gradient = jax.grad(energy)
        found = lax.map(lambda v: along(gradient, x, v, binding.forward), columns)
        return 0.5 * (found + found.T)

    return potential.mean_over_data(of_rows, large=False)


def hessian_product(
    binding: Binding, data: Data, layout: Layout, rng_key: jax.Array
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """
    A function (x, vector) -> Hessian at x times the vector, on the full data or, of
    many rows, on a sample that is the same in all its calls.

    :param Binding binding: the target.
    :param Data data: the data.
    :param Layout layout: a layout of one vector.
    :param rng_key: a PRNG key, for the sample.
    """
    potential, rows = binding.potential, None
    num = min(max(ROWS * layout.size, LEAST_ROWS), MOST_ROWS)
    if potential.plates and binding.sites.data_size > num:
        assert isinstance(potential, MinibatchPotential)
        rows = row(sample_of_rows(potential, rng_key, num, 1), 0)

    gradient = jax.grad(lambda x: potential(layout.unpack((x,)), rows, *data))
    return lambda x, vector: along(gradient, x, vector, binding.forward)
