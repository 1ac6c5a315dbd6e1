# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Sums over examples, in chunks: the mean loss over the first k examples, its
Hessian-vector product, and the increment that one more example brings.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree, row, size_of, sum_of
from numpyro_pl.trees.derivatives import hvp
from numpyro_pl.trees.increments import tree_normal

__all__ = [
    "CHUNK_SIZE",
    "Loss",
    "Problem",
    "compress",
    "compress_each",
    "increments",
    "increments_full",
    "increments_subspace",
    "losses_of_all",
    "mean_hvp",
    "timed",
]

Loss: TypeAlias = Callable[[Tree, Tree], jax.Array]
"""A function of (params, data) that returns the loss of each example, shape (m,)."""

CHUNK_SIZE = 128
"""Examples evaluated at a time: bounds memory, not accuracy."""

GRADIENT_NUMBERS = 2**24
"""Most numbers in the per-example gradients of one batch: 64 MiB in float32."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Problem:
    """
    The mean loss `L_k` over the first k examples of an ordering: a pytree, which jitted
    functions take as one argument. `order` and `k` are traced, so that a curve over k
    and over orderings compiles once.

    :param loss: the per-example loss, as a pytree.
    :param params: tree of arrays.
    :param data: tree of arrays with m examples along the leading axis.
    :param order: permutation of the examples, shape (m,).
    :param k: examples in the mean.
    :param int chunk_size: examples evaluated at a time, compiled in.
    """

    loss: Loss
    params: Tree
    data: Tree
    order: jax.Array
    k: Any
    chunk_size: int = field(metadata={"static": True})

    def moved_to(self, params: Tree) -> "Problem":
        """The same mean loss at other parameters."""
        return replace(self, params=params)

    def following(self, num_next: int) -> jax.Array:
        """Indices of the examples after the first k, shape (num_next,)."""
        return self.order[self.k + jnp.arange(num_next)]


def timed(fn: Callable, *args, **kwargs):
    """The result of `fn`, computed in full, and the seconds it took."""
    start = time.perf_counter()
    result = jax.block_until_ready(fn(*args, **kwargs))
    return result, time.perf_counter() - start


def sum_over_examples(fn: Callable[[Tree, jax.Array], Tree], problem: Problem) -> Tree:
    """
    Sum of `fn(rows, weights)` over chunks that make up the first k examples. Not
    differentiable; take derivatives inside `fn`, so that memory holds one chunk's.

    :param fn: function of some rows of the data and of their weights, 1 or 0.
    """
    k, chunk_size = problem.k, min(problem.chunk_size, problem.order.shape[0])

    def chunk(i):
        position = i * chunk_size + jnp.arange(chunk_size)
        # Positions past the end repeat the last example. The examples after it, even
        # with a weight of zero, would spread any NaN that they hold.
        rows = row(problem.data, problem.order[jnp.minimum(position, k - 1)])
        return fn(rows, position < k)

    return sum_of(chunk, (k + chunk_size - 1) // chunk_size)


def _mean_loss(problem: Problem) -> jax.Array:
    """`L_k`, a scalar."""

    def total(rows, weights):
        return jnp.vdot(weights, problem.loss(problem.params, rows))

    return sum_over_examples(total, problem) / problem.k


@jax.jit
def mean_hvp(problem: Problem, v: Tree) -> Tree:
    """Hessian of `L_k` times the tree `v`."""

    def product(rows, weights):
        return hvp(
            lambda x: jnp.vdot(weights, problem.loss(x, rows)), problem.params, v
        )

    return jax.tree.map(lambda x: x / problem.k, sum_over_examples(product, problem))


@partial(jax.jit, static_argnames="num_next")
def increments(problem: Problem, num_next: int = 1) -> jax.Array:
    """
    `L_{k+1} - L_k` as `(l - L_k) / (k + 1)`, for each of the `num_next` examples after
    the first k taken as the one that is added. In this form two numbers of order one
    are subtracted once, instead of two means that differ by `1 / k`.

    :return: array of shape (num_next,).
    """
    rows = row(problem.data, problem.following(num_next))
    added = problem.loss(problem.params, rows)
    return (added - _mean_loss(problem)) / (problem.k + 1)


def _perturbed(params: Tree, sigma, rng_key: jax.Array) -> Tree:
    """`params + sigma xi`, xi standard normal in all dimensions."""
    return jax.tree.map(
        lambda x, e: x + (sigma * e).astype(x.dtype),
        params,
        tree_normal(rng_key, params),
    )


def _shifted(params: Tree, directions: Tree, z: jax.Array) -> Tree:
    """`params + V z` for `directions` V, a tree with a leading axis of length D."""
    return jax.tree.map(
        lambda x, v: x + jnp.tensordot(z, v, 1).astype(x.dtype), params, directions
    )


@jax.jit
def losses_of_all(problem: Problem, rng_keys: jax.Array, sigma) -> jax.Array:
    """
    Loss of all m examples, in the order of the data, at `params + sigma xi` for each
    key: shape (len(rng_keys), m).
    """
    m = problem.order.shape[0]
    chunk_size = min(problem.chunk_size, m)
    starts = jnp.arange(-(-m // chunk_size)) * chunk_size

    def one(rng_key):
        params = _perturbed(problem.params, sigma, rng_key)

        def chunk(start):
            index = jnp.minimum(start + jnp.arange(chunk_size), m - 1)
            return problem.loss(params, row(problem.data, index))

        return jax.lax.map(chunk, starts).reshape(-1)[:m]

    return jax.lax.map(one, rng_keys)


@jax.jit
def increments_full(problem: Problem, rng_keys: jax.Array, sigma) -> jax.Array:
    """The increment at `params + sigma xi`, for each key: shape (len(rng_keys),)."""

    def one(rng_key):
        moved = _perturbed(problem.params, sigma, rng_key)
        return increments(problem.moved_to(moved))[0]

    return jax.lax.map(one, rng_keys)


@jax.jit
def increments_subspace(problem: Problem, directions: Tree, zs: jax.Array) -> jax.Array:
    """The increment at `params + V z`, for each row z of `zs`: shape (len(zs),)."""

    def one(z):
        moved = _shifted(problem.params, directions, z)
        return increments(problem.moved_to(moved))[0]

    return jax.lax.map(one, zs)


def _derivatives(problem: Problem, directions: Tree, rows: Tree, weights: jax.Array):
    """
    Weighted loss, gradient and Hessian along `directions`, as derivatives of
    `z -> loss(params + V z)`, a function of D numbers.
    """
    (dim,) = {v.shape[0] for v in jax.tree.leaves(directions)}
    dtype = jnp.result_type(*jax.tree.leaves(problem.params))
    origin, basis = jnp.zeros(dim, dtype), jnp.eye(dim, dtype=dtype)

    def fn(z):
        shifted = _shifted(problem.params, directions, z)
        return jnp.vdot(weights, problem.loss(shifted, rows))

    value, gradient = jax.value_and_grad(fn)(origin)
    # One product at a time: D of them at once would hold D gradients in memory.
    hessian = jax.lax.map(lambda e: hvp(fn, origin, e), basis)
    return value, gradient, (hessian + hessian.T) / 2


@jax.jit
def compress_each(problem: Problem, index: jax.Array, directions: Tree):
    """
    Loss, gradient and Hessian along `directions` of each example in `index`.

    :return: shapes (len(index),), (len(index), D), (len(index), D, D).
    """
    # Each example of a batch has its own gradient, of n numbers.
    batch = max(1, min(problem.chunk_size, GRADIENT_NUMBERS // size_of(problem.params)))

    def one(i):
        return _derivatives(
            problem, directions, row(problem.data, i[None]), jnp.ones(1)
        )

    return jax.lax.map(one, index, batch_size=batch)


@partial(jax.jit, static_argnames="num_next")
def compress(problem: Problem, directions: Tree, num_next: int = 1):
    """
    The quadratic model of the increment in the span of `directions`: its value `a`,
    gradient `c = V^T grad` and Hessian `B = V^T (H_{k+1} - H_k) V`.

    :return: (a, c, B), shapes (num_next,), (num_next, D), (num_next, D, D).
    """
    k = problem.k
    total = sum_over_examples(partial(_derivatives, problem, directions), problem)
    added = compress_each(problem, problem.following(num_next), directions)
    return jax.tree.map(lambda x, s: (x - s / k) / (k + 1), added, total)
