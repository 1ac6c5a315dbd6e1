# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Arithmetic on trees of arrays, and their size.

Above some size, memory decides how a model is computed. In small models the number of
operations matters: positions are packed into one vector, and both halves of a minibatch
are differentiated at once. In large ones every array of the size of the parameters
matters, for time as well as memory.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

__all__ = [
    "SMALL",
    "Tree",
    "all_finite",
    "arrays_apart",
    "as_in",
    "is_array",
    "is_large",
    "is_traced",
    "leaf_names",
    "mean_of",
    "one_of",
    "row",
    "size_of",
    "spread",
    "squared_norm",
    "sum_of",
    "tree_dot",
]

Tree: TypeAlias = Any
"""A tree of arrays, as JAX knows them: an array, or a dict, tuple or list of trees."""

SMALL = 20_000
"""Most coordinates of a small model."""


def size_of(tree: Tree) -> int:
    """Number of coordinates."""
    return sum(math.prod(jnp.shape(x)) for x in jax.tree.leaves(tree))


def is_large(tree: Tree) -> bool:
    """Whether a position is that of a large model."""
    return size_of(tree) > SMALL


def all_finite(tree: Tree) -> jax.Array:
    """Whether all values of all arrays are finite."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def as_in(value: Any, x: jax.Array) -> jax.Array:
    """A number in the type of `x`, so that it does not change the type of a product."""
    return jnp.asarray(value).astype(x.dtype)


def is_array(leaf: Any) -> bool:
    """
    Whether a leaf is an array, of JAX, NumPy or traced. A Python number is not, nor is
    data that stays on the host.
    """
    if getattr(leaf, "stays_on_host", False):
        return False
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def arrays_apart(tree: Tree) -> tuple[list, Callable[[list], Tree]]:
    """
    The arrays of a tree, and a function that puts other arrays in their place.

    :param tree: a tree whose leaves may be anything.
    """
    leaves, treedef = jax.tree.flatten(tree)
    arrays = [leaf for leaf in leaves if is_array(leaf)]
    # The function may outlive the tree in compiled programs: it must not hold arrays.
    others = [None if is_array(leaf) else leaf for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if is_array(leaf)]

    def rebuild(arrays):
        new = list(others)
        for i, array in zip(places, arrays, strict=True):
            new[i] = array
        return jax.tree.unflatten(treedef, new)

    return arrays, rebuild


def is_traced(tree: Tree) -> bool:
    """Whether any leaf is a tracer, whose value is not known yet."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def leaf_names(tree: Tree) -> list[str]:
    """
    Names of the leaves, in their order: the keys on the way to each, joined by dots.

    :param tree: a tree of arrays; the leaves of a model's position are its sites.
    """

    def name(key) -> str:
        for field in ("key", "name", "idx"):
            if hasattr(key, field):
                return str(getattr(key, field))
        return str(key)

    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [".".join(name(key) for key in path) for path, _ in paths]


def row(tree: Tree, index: Any) -> Tree:
    """The entry at `index` along the leading axis of every array."""
    return jax.tree.map(lambda x: x[index], tree)


def one_of(tree: Tree) -> Tree:
    """The shapes and types of the entries along the leading axis of every array."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree)


def tree_dot(x: Tree, y: Tree) -> jax.Array:
    """Inner product of two trees of the same structure, a scalar."""
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return jnp.asarray(sum(jnp.vdot(a, b) for a, b in pairs))


def squared_norm(tree: Tree) -> jax.Array:
    """Sum of the squares of all coordinates."""
    return jnp.asarray(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))


def mean_of(tree: Tree) -> jax.Array:
    """Mean over all coordinates."""
    return jnp.asarray(sum(jnp.sum(x) for x in jax.tree.leaves(tree))) / size_of(tree)


def sum_of(fn: Callable[[Any], Tree], num: Any) -> Tree:
    """
    `fn(0) + ... + fn(num - 1)`, one after the other, so that only one result and the
    sum are held. Not differentiable in reverse mode: take derivatives inside `fn`.

    :param fn: function of a whole number (traced) that returns a tree.
    :param num: number of terms, an int or a traced whole number.
    """
    # Compiled only as part of the loop, but so that JAX traces it once, not twice.
    fn = jax.jit(fn)
    shapes = jax.eval_shape(fn, jnp.zeros((), jnp.result_type(num)))
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.fori_loop(
        0, num, lambda i, total: jax.tree.map(jnp.add, total, fn(i)), start
    )


def spread(value: Tree, like: Tree) -> Tree:
    """Repeat a scalar over a tree like `like`; return any other tree unchanged."""
    leaves = jax.tree.leaves(value)
    if len(leaves) == 1 and jnp.ndim(leaves[0]) == 0:
        return jax.tree.map(lambda _: leaves[0], like)
    return value
