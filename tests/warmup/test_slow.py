# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Slow directions of matrices that are known, and of chains in different places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.warmup.pooling import ManyChains, OneChain
from numpyro_pl.warmup.slow import flattest, no_directions, slow_directions

NUM = 300
PLANTED = np.array([0.003, 0.01, 0.02, 0.05])


def turned(seed):
    """An orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(NUM, NUM)))[0]


def matrix_with(basis, planted=PLANTED):
    """A matrix whose least eigenvalues are the planted ones, others about 1."""
    values = np.linspace(0.6, 1.6, NUM)
    values[: len(planted)] = planted
    return (basis * values) @ basis.T


BASIS = turned(0)
UNITS = np.geomspace(0.1, 10, NUM)
"""Units of the coordinates: what is slow must not depend on them."""

HERE = jnp.asarray(matrix_with(BASIS) * UNITS * UNITS[:, None], jnp.float32)


def in_span(vectors, directions):
    """Share of the squared length of unit vectors that lies along some directions."""
    directions = np.linalg.qr(directions)[0]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.square(vectors @ directions).sum(1)


def found(slow):
    """The vectors that are not zero."""
    vectors = np.asarray(slow.vectors, np.float64)
    return vectors[np.any(vectors != 0, -1)]


def test_the_flattest_directions_of_a_matrix():
    matrix = jnp.asarray(matrix_with(BASIS), jnp.float32)
    start = jnp.ones(NUM)
    vectors = np.asarray(jax.jit(lambda s: flattest(lambda v: matrix @ v, s, 4))(start))
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-4)
    values = np.einsum("ki,ij,kj->k", vectors, matrix, vectors)
    np.testing.assert_allclose(values, PLANTED, rtol=0.02, atol=2e-5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_few_coordinates_have_few_directions(size):
    """The method ends early, with as many vectors as there are."""
    matrix = jnp.diag(jnp.arange(1.0, size + 1))
    vectors = np.asarray(flattest(lambda v: matrix @ v, jnp.ones(size), size))
    np.testing.assert_allclose(np.abs(vectors), np.eye(size), atol=1e-4)


def test_one_value_alone_ends_the_method():
    """The unit matrix knows one direction: the others are none, not NaN."""
    vectors = np.asarray(flattest(lambda v: 2 * v, jnp.ones(20), 4))
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], np.full(20, 20**-0.5), rtol=1e-4)


def looked_for(matrices, last=None):
    """The slow directions of vectorized chains, each with a Hessian of its own."""
    position = jnp.zeros((len(matrices), NUM))
    last = jax.vmap(no_directions)(position) if last is None else last

    def one(matrix, x, last):
        return slow_directions(lambda x, v: matrix @ v, x, last, ManyChains("chains"))

    return jax.jit(jax.vmap(one, axis_name="chains"))(matrices, position, last)


def test_directions_that_are_slow_in_all_chains():
    """They have curvature 1 in their own units, and are the same for all chains."""
    slow = looked_for(jnp.stack([HERE, HERE, HERE]))
    first, *others = (found(jax.tree.map(lambda x: x[i], slow)) for i in range(3))
    assert len(first) == len(PLANTED)
    for other in others:
        np.testing.assert_array_equal(first, other)
    curvature = np.einsum("ki,ij,kj->k", first, np.asarray(HERE, float), first)
    np.testing.assert_allclose(curvature, 1, rtol=0.05)
    # Units of coordinates differ a little from the sizes that probes tell.
    share = in_span(first * UNITS, BASIS[:, : len(PLANTED)])
    assert (share > 0.98).all(), share


def test_directions_of_one_chain_alone_do_not_count():
    """As in a network: as flat in each place, but others in each."""
    other = jnp.asarray(matrix_with(turned(1)) * UNITS * UNITS[:, None], jnp.float32)
    slow = looked_for(jnp.stack([HERE, other]))
    assert len(found(jax.tree.map(lambda x: x[0], slow))) == 0


def test_one_chain_compares_with_where_it_was():
    position = jnp.zeros(NUM)

    def product(x, v):
        # Where the first coordinate is 1, other directions are slow.
        other = matrix_with(turned(1)) * UNITS * UNITS[:, None]
        return jnp.where(x[0] < 0.5, HERE @ v, jnp.asarray(other, jnp.float32) @ v)

    def look(last, x):
        return slow_directions(product, x, last, OneChain())

    first = look(no_directions(position), position)
    assert len(found(first)) == 0, "nothing to compare with"
    second = look(first, position)
    assert len(found(second)) == len(PLANTED)
    moved = look(second, position.at[0].set(1.0))
    assert len(found(moved)) == 0
    np.testing.assert_array_equal(moved.place, position.at[0].set(1.0))


def test_no_direction_where_the_hessian_is_not_finite():
    slow = looked_for(jnp.stack([HERE, jnp.full_like(HERE, jnp.nan)]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slow))
    assert len(found(jax.tree.map(lambda x: x[0], slow))) == 0


def test_the_longest_step_along_a_flat_direction_is_bounded():
    """A direction without any curvature, as where the prior is flat."""
    flat = matrix_with(BASIS, np.array([0.0]))
    slow = looked_for(jnp.asarray(np.stack([flat, flat]), jnp.float32))
    (vector,) = found(jax.tree.map(lambda x: x[0], slow))
    assert 10 < np.linalg.norm(vector) < 60


def test_chains_keep_their_keys_apart():
    """The method has a key of its own: the same directions with any positions."""
    position = random.normal(random.key(0), (NUM,))
    last = no_directions(position)._replace(placed=jnp.asarray(True))
    one = slow_directions(lambda x, v: HERE @ v, position, last, OneChain())
    two = slow_directions(lambda x, v: HERE @ v, -position, last, OneChain())
    np.testing.assert_array_equal(one.vectors, two.vectors)
