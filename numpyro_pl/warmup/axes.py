# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Axes along which a posterior has the same curvature everywhere, and what tells it."""

import jax
import jax.numpy as jnp

__all__ = ["hidden_curvature", "whitening"]

FLATTEST_AXIS = 1e-5
"""Least eigenvalue of the curvature relative to the largest one, once all coordinates
are scaled to the same curvature."""

LEAST_CURVATURE = 1e-10
"""Least curvature of a coordinate, relative to the steepest one."""

HIDDEN, MOST_EVEN = 30.0, 100.0
"""Curvature from the gradients of the rows, relative to that from the Hessian, from
which the Hessian does not tell it. Where errors are larger than a model says, the
ratio is larger in all directions, up to the second number."""


def whitening(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """
    Matrices A and its inverse, with `A.T @ matrix @ A = 1`. Eigenvalues are taken as
    positive: where a posterior is not convex, steps have to be as short as where it is
    as much curved upwards.
    """
    diagonal = jnp.abs(jnp.diagonal(matrix))
    least = LEAST_CURVATURE * jnp.max(diagonal)
    scale = jnp.sqrt(jnp.maximum(diagonal, jnp.where(least > 0, least, 1.0)))
    values, vectors = jnp.linalg.eigh(matrix / (scale[:, None] * scale))
    values = jnp.abs(values)
    values = jnp.maximum(values, FLATTEST_AXIS * jnp.max(values))
    root = jnp.sqrt(values)
    return vectors / scale[:, None] / root, root[:, None] * vectors.T * scale


def hidden_curvature(hessian: jax.Array, rows: jax.Array, axes: jax.Array) -> jax.Array:
    """
    Curvature that the Hessian does not show, shape (n, n); zero where there is none.

    The log density of a Laplace distribution is linear up to a kink: its curvature is
    zero wherever it is taken, that of its sum over many rows is not. But the gradients
    of rows that follow the model have a covariance equal to their mean curvature, with
    kinks or without.

    :param hessian: the Hessian on the full data.
    :param rows: covariance of the gradients of the rows times their number.
    :param axes: which pairs of coordinates may be mixed.
    """
    basis, inverse = whitening(hessian * axes)
    ratios, vectors = jnp.linalg.eigh(basis.T @ rows @ basis)
    limit = HIDDEN * jnp.clip(ratios[0], 1.0, MOST_EVEN)
    vectors = inverse.T @ vectors
    return (vectors * jnp.where(ratios > limit, ratios, 0.0)) @ vectors.T
