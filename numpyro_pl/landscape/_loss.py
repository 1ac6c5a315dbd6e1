# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Sums over examples, in chunks: the mean loss over the first k examples, its
Hessian-vector product, and the increment that one more example brings.

Everything is a function of `(loss, params, data, order, k)`: `order` is a permutation
of the examples and `k` is traced, so that a curve over k and over orderings compiles
once.
"""

import operator
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from numpyro_pl.curvature import hvp, tree_normal

PyTree: TypeAlias = Any
Loss: TypeAlias = Callable[[PyTree, PyTree], jax.Array]

CHUNK_SIZE = 128
"""Examples evaluated at a time: bounds memory, not accuracy."""

GRADIENT_NUMBERS = 2**24
"""Largest size of the gradients that examples of a batch have each for themselves."""


def timed(fn: Callable, *args, **kwargs):
    """Result of `fn`, once it is there, and the seconds it took."""
    start = time.perf_counter()
    result = jax.block_until_ready(fn(*args, **kwargs))
    return result, time.perf_counter() - start


def as_pytree(per_example_loss: Loss) -> Loss:
    """
    The loss as a pytree, so that jitted functions take it as an argument: the arrays of
    a :class:`~numpyro_pl.landscape.ModelLoss` then are arguments too, not constants of
    the program.
    """
    if all(x is not per_example_loss for x in jax.tree.leaves(per_example_loss)):
        return per_example_loss
    return jax.tree_util.Partial(per_example_loss)


def num_params(params: PyTree) -> int:
    """Number n of parameters."""
    return sum(jnp.size(x) for x in jax.tree.leaves(params))


def check_problem(per_example_loss: Loss, params: PyTree, data: PyTree) -> int:
    """
    Check the loss and its arguments without evaluating it.

    :return: the number m of examples.
    :raises ValueError: where `params` or `data` do not have the shapes asked for, or
        the loss does not return one value for each example.
    """
    leaves = jax.tree.leaves(params)
    if not leaves or not all(
        jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in leaves
    ):
        raise ValueError(
            "params must be a tree of real floating-point arrays, with at least one. "
            "Split off integers, keys and functions first (flax.nnx.split, "
            "equinox.partition)."
        )
    shapes = [jnp.shape(x) for x in jax.tree.leaves(data)]
    if not shapes or any(not s for s in shapes) or len({s[0] for s in shapes}) > 1:
        raise ValueError(
            "each array of data must have the examples along its leading axis, all the "
            f"same number of them; got shapes {shapes}."
        )
    m = shapes[0][0]
    # Three rows tell a value per example from a scalar and from a mean kept as (1,).
    rows = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((3, *jnp.shape(x)[1:]), jnp.result_type(x)), data
    )
    out = jax.eval_shape(per_example_loss, params, rows)
    if getattr(out, "shape", None) != (3,) or not jnp.issubdtype(
        out.dtype, jnp.floating
    ):
        raise ValueError(
            "per_example_loss(params, data) must return one real value for each "
            f"example, shape (m,); for m = 3 examples it returned {out}. Leave out the "
            "mean over examples; sum over the other axes."
        )
    return m


def check_count(k: int, m: int, num_next: int = 1) -> int:
    """
    Check that `k` examples are there and `num_next` after them.

    :raises ValueError: where they are not.
    """
    k = operator.index(k)
    if not 1 <= k <= m - num_next:
        raise ValueError(
            f"k={k} is outside the data: there are {m} examples, and k must leave "
            f"{num_next} to add, so 1 <= k <= {m - num_next}."
        )
    return k


def check_positive(**settings) -> None:
    """:raises ValueError: where a setting is not a positive finite number."""
    for name, value in settings.items():
        if not (value > 0 and value < float("inf")):
            raise ValueError(f"{name}={value} must be positive and finite.")


def take(data: PyTree, rows: jax.Array) -> PyTree:
    """Rows of each array of `data`."""
    return jax.tree.map(lambda x: jnp.asarray(x)[rows], data)


def sum_over_examples(
    fn: Callable[[PyTree, jax.Array], PyTree],
    data: PyTree,
    order: jax.Array,
    k: jax.Array,
    chunk_size: int,
) -> PyTree:
    """
    Sum of `fn(rows, weights)` over chunks that make up the first k examples of `order`.
    Not differentiable; derivatives are taken inside `fn`, so that memory holds one
    chunk's.

    :param fn: function of some rows of `data` and of their weights, 1 or 0.
    """
    chunk_size = min(chunk_size, order.shape[0])

    def chunk(i):
        position = i * chunk_size + jnp.arange(chunk_size)
        # Positions past the end repeat the last example instead of reaching for the
        # next ones: whatever these hold, a zero weight could not undo a NaN.
        rows = take(data, order[jnp.minimum(position, k - 1)])
        return fn(rows, position < k)

    shapes = jax.eval_shape(chunk, jnp.zeros((), order.dtype))
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    num_chunks = (k + chunk_size - 1) // chunk_size
    return jax.lax.fori_loop(
        0, num_chunks, lambda i, t: jax.tree.map(jnp.add, t, chunk(i)), start
    )


def mean_loss(loss, params, data, order, k, chunk_size):
    """`L_k(params)`, a scalar."""
    total = sum_over_examples(
        lambda rows, weights: jnp.vdot(weights, loss(params, rows)),
        data,
        order,
        k,
        chunk_size,
    )
    return total / k


@partial(jax.jit, static_argnames="chunk_size")
def mean_hvp(loss, params, data, order, k, v, chunk_size):
    """Hessian of `L_k` at `params` times the tree `v`."""

    def product(rows, weights):
        return hvp(lambda x: jnp.vdot(weights, loss(x, rows)), params, v)

    total = sum_over_examples(product, data, order, k, chunk_size)
    return jax.tree.map(lambda x: x / k, total)


@partial(jax.jit, static_argnames=("num_next", "chunk_size"))
def increments(loss, params, data, order, k, num_next, chunk_size):
    """
    `L_{k+1} - L_k` at `params` as `(l - L_k) / (k + 1)`, for each of the `num_next`
    examples after the first k taken as the one that is added. In this form two numbers
    of order one are subtracted once, instead of two means that differ by `1 / k`.

    :return: array of shape (num_next,).
    """
    mean = mean_loss(loss, params, data, order, k, chunk_size)
    added = loss(params, take(data, order[k + jnp.arange(num_next)]))
    return (added - mean) / (k + 1)


def shift(params: PyTree, directions: PyTree, z: jax.Array) -> PyTree:
    """`params + V z` for `directions` V, a tree with a leading axis of length D."""
    return jax.tree.map(
        lambda x, v: x + jnp.tensordot(z, v, 1).astype(x.dtype), params, directions
    )


@partial(jax.jit, static_argnames="chunk_size")
def increments_full(loss, params, data, order, k, keys, sigma, chunk_size):
    """The increment at `params + sigma xi`, for each key: shape (len(keys),)."""

    def one(key):
        xi = tree_normal(key, params)
        moved = jax.tree.map(lambda x, e: x + (sigma * e).astype(x.dtype), params, xi)
        return increments(loss, moved, data, order, k, 1, chunk_size)[0]

    return jax.lax.map(one, keys)


@partial(jax.jit, static_argnames="chunk_size")
def increments_subspace(loss, params, data, order, k, directions, zs, chunk_size):
    """The increment at `params + V z`, for each row z of `zs`: shape (len(zs),)."""

    def one(z):
        moved = shift(params, directions, z)
        return increments(loss, moved, data, order, k, 1, chunk_size)[0]

    return jax.lax.map(one, zs)


def _derivatives(loss, params, directions, rows, weights):
    """
    Weighted loss, gradient and Hessian along `directions`, as derivatives of
    `z -> loss(params + V z)`, a function of D numbers.
    """
    (dim,) = {v.shape[0] for v in jax.tree.leaves(directions)}
    dtype = jnp.result_type(*jax.tree.leaves(params))
    origin, basis = jnp.zeros(dim, dtype), jnp.eye(dim, dtype=dtype)

    def fn(z):
        return jnp.vdot(weights, loss(shift(params, directions, z), rows))

    value, gradient = jax.value_and_grad(fn)(origin)
    # One product at a time: D of them at once would hold D gradients in memory.
    hessian = jax.lax.map(lambda e: hvp(fn, origin, e), basis)
    return value, gradient, (hessian + hessian.T) / 2


@partial(jax.jit, static_argnames="chunk_size")
def compress_each(loss, params, data, rows, directions, chunk_size):
    """
    Loss, gradient and Hessian of each example in `rows`, along `directions`.

    :return: shapes (len(rows),), (len(rows), D), (len(rows), D, D).
    """
    # Batched examples have a gradient each, of n numbers.
    batch = max(1, min(chunk_size, GRADIENT_NUMBERS // num_params(params)))
    return jax.lax.map(
        lambda row: _derivatives(
            loss, params, directions, take(data, row[None]), jnp.ones(1)
        ),
        rows,
        batch_size=batch,
    )


@partial(jax.jit, static_argnames=("num_next", "chunk_size"))
def compress(loss, params, data, order, k, directions, num_next, chunk_size):
    """
    The quadratic model of the increment in the span of `directions`: its value `a`,
    gradient `c = V^T grad` and Hessian `B = V^T (H_{k+1} - H_k) V`.

    :return: (a, c, B), shapes (num_next,), (num_next, D), (num_next, D, D).
    """
    mean = sum_over_examples(
        partial(_derivatives, loss, params, directions), data, order, k, chunk_size
    )
    following = order[k + jnp.arange(num_next)]
    added = compress_each(loss, params, data, following, directions, chunk_size)
    return jax.tree.map(lambda x, total: (x - total / k) / (k + 1), added, mean)
