# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Curvature through products alone, against the dense matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.warmup.curvature import hessian_row_norms, power_iteration

RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(12, 12))
MATRIX = jnp.asarray(ROOT @ ROOT.T, jnp.float32)


def split(vector):
    return {"a": vector[:5], "b": vector[5:].reshape(7, 1)}


def product(t, tree):
    return split(MATRIX @ jnp.concatenate([tree["a"], tree["b"].ravel()]))


def test_row_norms_are_those_of_the_rows():
    """4,000 probes: their mean square has a relative error of about 2 %; 4 of them."""
    like = split(jnp.zeros(12))
    norms = jax.jit(lambda key: hessian_row_norms(product, key, like, 4_000))(
        random.key(0)
    )
    exact = np.linalg.norm(MATRIX, axis=1)
    found = np.concatenate([norms["a"], norms["b"].ravel()])
    np.testing.assert_allclose(found, exact, rtol=0.08)
    # Never below the diagonal, in expectation: a bound on what a step may be.
    assert (found > 0.92 * np.diag(MATRIX)).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_power_iteration_finds_the_largest_eigenvalue(sign):
    """Of a negative definite matrix too: the largest in absolute value."""
    like = split(jnp.zeros(12))
    value, vector = jax.jit(
        lambda key: power_iteration(
            lambda t, v: jax.tree.map(lambda x: sign * x, product(t, v)),
            key,
            like,
            300,
            4,
        )
    )(random.key(1))
    values, vectors = np.linalg.eigh(MATRIX)
    np.testing.assert_allclose(value, values[-1], rtol=1e-4)
    flat = np.concatenate([vector["a"], vector["b"].ravel()])
    assert abs(flat @ vectors[:, -1]) > 0.999


def test_power_iteration_of_nothing_is_zero():
    value, _ = power_iteration(
        lambda t, v: jax.tree.map(jnp.zeros_like, v), random.key(0), jnp.zeros(3), 4, 2
    )
    assert value == 0
