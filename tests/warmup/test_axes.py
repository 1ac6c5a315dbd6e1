# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Curvature that the Hessian does not show."""

import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_pl.warmup.axes import hidden_curvature, whitening

ALL = np.ones((3, 3), np.float32)
ROWS = jnp.array([[4e5, 1e5, 0], [1e5, 2e5, 0], [0, 0, 3e4]])
"""Of a regression with Laplace errors: two coefficients and a log scale."""


def test_kinks_are_seen_in_the_gradients_of_rows():
    """
    The Hessian has nothing but the prior for the coefficients; there, and only there,
    the curvature is that of the rows.
    """
    hessian = jnp.array([[0.04, 0, 300], [0, 0.04, -200], [300, -200, 3e4]])
    total = hessian + hidden_curvature(hessian, ROWS, ALL)
    basis, _ = whitening(total)
    ratios = np.linalg.eigvalsh(np.asarray(basis.T @ ROWS @ basis, float))
    assert (np.abs(ratios - 1) < 0.05).all()


@pytest.mark.parametrize("factor", [0.0, 1.0, 25.0, 80.0])
def test_smooth_models_have_no_hidden_curvature(factor):
    """Nor have those with larger errors than they say, which all directions show."""
    tilted = ROWS * jnp.array([1.0, 1.0, 20.0]) ** 0.5
    tilted = tilted * jnp.array([1.0, 1.0, 20.0])[:, None] ** 0.5
    assert (hidden_curvature(ROWS, factor * tilted, ALL) == 0).all()
