# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Slow directions of a model that is too large to be whitened.

Masses are set one coordinate at a time. A mean and the effects of many groups are all
steep: each row tells their sum. But the mean can go up while all effects go down, and
the rows do not notice: along this direction the curvature is that of the prior alone,
hundreds of times less, and chains with such masses take hundreds of times longer.

Where H is the Hessian and D is diagonal, such that the rows of
:math:`D^{-1/2} H D^{-1/2}` have norm 1, the slow directions are the eigenvectors of the
least eigenvalues of this matrix, found by Lanczos' method from Hessian-vector products.
The kernel moves the chain along them after each block of steps
(`numpyro_pl.kernels.slow_moves`).

A network has many flat directions too, but others in every place. So a direction counts
only if it is one in several places: those of all chains or, of a chain alone, where it
is and where it was before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random

from numpyro_pl.trees.increments import tree_signs
from numpyro_pl.warmup.pooling import OneChain

__all__ = ["SlowDirections", "no_directions", "slow_directions"]

MOST = 32
"""Most directions that are looked for."""

PRODUCTS = 128
"""Hessian-vector products of Lanczos' method."""

ROUNDS, PROBES = 4, 8
"""Times that coordinates are scaled to rows of the same norm, and probes of the rows at
each. One time is not enough where coordinates have different units: the rows of small
ones hold little but the others'."""

SLOW = 0.25
"""Curvature of a direction, relative to that of coordinates, below which it is slow."""

LONGEST = 30.0
"""Largest factor on a direction."""

MOST_COUPLED = 1.0
"""Largest second derivative between a direction and all others, once it is as steep as
they are: 0 for an eigenvector."""

FLATTEST = 1e-8
"""Least norm of a row, relative to the largest."""

NO_MORE = 1e6
"""Curvature in place of directions that do not exist."""


class SlowDirections(NamedTuple):
    """
    The slow directions of a chain.

    - **vectors** - for each of them the displacement over which the potential rises by
      half a nat, shape (directions, n); zeros where there is none.
    - **scales**, **noise_variance** - of the dynamics along them.
    - **place** - position of the chain when they were last looked for.
    - **placed** - whether they were.
    """

    vectors: jax.Array
    scales: Any
    noise_variance: Any
    place: jax.Array
    placed: jax.Array

    @property
    def origin(self) -> tuple[jax.Array]:
        """Coordinates along the directions where the chain is: zeros."""
        return (jnp.zeros_like(self.vectors[:, 0]),)


def no_directions(position: jax.Array) -> SlowDirections:
    """
    Before any are known.

    :param position: a position, a vector.
    """
    num = min(MOST, position.size)
    ones = (jnp.ones(num, position.dtype),)
    vectors = jnp.zeros((num, position.size), position.dtype)
    return SlowDirections(vectors, ones, ones, position, jnp.asarray(False))


def slow_directions(
    product: Callable[[jax.Array, jax.Array], jax.Array],
    position: jax.Array,
    last: SlowDirections,
    chains: OneChain,
) -> SlowDirections:
    """
    The slow directions where the chains are.

    :param product: function (position, vector) -> Hessian there times the vector.
    :param position: position of the chain, a vector.
    :param SlowDirections last: those found before.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    # All chains have the same vectors, so these must not depend on their keys.
    key_rows, key_start = random.split(random.key(0))

    def pooled(v):
        return chains.mean(jnp.nan_to_num(product(position, v)))

    roots = _roots(pooled, key_rows, position)

    def scaled(v):
        return pooled(v / roots) / roots

    vectors = flattest(scaled, tree_signs(key_start, position), len(last.vectors))
    known = last.placed | (chains.number() > 1)
    place = position if chains.number() > 1 else last.place
    curvature, coupling = _seen_at(product, place, roots, vectors)
    curvature = chains.largest(curvature)
    lengths = jnp.minimum(jnp.maximum(curvature, 1e-12) ** -0.5, LONGEST)
    coupled = lengths * chains.largest(coupling)
    good = known & (curvature < SLOW) & (coupled < MOST_COUPLED)
    vectors *= jnp.where(good, lengths, 0.0)[:, None] / roots
    return last._replace(vectors=vectors, place=position, placed=jnp.asarray(True))


def _roots(product: Callable, rng_key: jax.Array, like: jax.Array) -> jax.Array:
    """Factors on coordinates, over which the rows of the Hessian have norm 1."""
    # Made ahead of the loop: within it XLA takes minutes to compile some models.
    signs = tree_signs(rng_key, jnp.zeros((ROUNDS * PROBES, like.size), like.dtype))

    def step(t, carry):
        roots, total = carry
        row = product(signs[t] / roots) / roots
        total += jnp.square(row)
        norms = jnp.sqrt(total / PROBES)
        norms = jnp.maximum(norms, FLATTEST * jnp.max(norms))
        scaled = roots * jnp.sqrt(jnp.where(norms > 0, norms, 1.0))
        ends = (t + 1) % PROBES == 0
        return jnp.where(ends, scaled, roots), jnp.where(ends, 0.0, total)

    start = jnp.ones_like(like), jnp.zeros_like(like)
    return lax.fori_loop(0, ROUNDS * PROBES, step, start)[0]


def _seen_at(product, place, roots, vectors) -> tuple[jax.Array, jax.Array]:
    """
    Curvature of each vector at a place, in absolute value, and the norm of the second
    derivatives between it and all directions at right angles.
    """

    def of(v):
        w = jnp.nan_to_num(product(place, v / roots), nan=NO_MORE) / roots
        along = v @ w
        return jnp.abs(along), jnp.sqrt(jnp.sum(jnp.square(w - along * v)))

    return lax.map(of, vectors)


def flattest(
    product: Callable[[jax.Array], jax.Array], start: jax.Array, num: int
) -> jax.Array:
    """
    Ritz vectors of the least eigenvalues of a symmetric matrix, from
    :data:`PRODUCTS` products with it, by Lanczos' method.

    :param product: function of a vector.
    :param start: the first vector, not 0.
    :param int num: number of vectors.
    :return: orthonormal vectors, of shape (num, n), the least eigenvalue first.
    """
    size = min(PRODUCTS, start.size)
    basis = jnp.zeros((size + 1, start.size), start.dtype)
    basis = basis.at[0].set(start / jnp.linalg.norm(start))

    def step(j, carry):
        basis, diagonal, beside = carry
        w = product(basis[j])
        entry = basis[j] @ w
        # Twice: rounding leaves too much of the other vectors after the first time.
        for _ in range(2):
            w -= (basis @ w) @ basis
        norm = jnp.linalg.norm(w)
        more = norm > 1e-5 * jnp.abs(entry)
        alive = jnp.any(basis[j] != 0)
        basis = basis.at[j + 1].set(jnp.where(more, w / jnp.where(more, norm, 1), 0))
        diagonal = diagonal.at[j].set(jnp.where(alive, entry, NO_MORE))
        return basis, diagonal, beside.at[j].set(jnp.where(more, norm, 0))

    zeros = jnp.zeros(size, start.dtype)
    basis, diagonal, beside = lax.fori_loop(0, size, step, (basis, zeros, zeros))
    matrix = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    return jnp.linalg.eigh(matrix)[1][:, :num].T @ basis[:-1]
