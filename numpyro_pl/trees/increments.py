# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Random increments in the shape of a tree.

On a CPU the random numbers, not the gradient, are the costly part of a Langevin step: a
million Gaussians take longer than a minibatch gradient of a million-parameter network.
Random signs, 32 from each random word, have the same mean, variance and third moment
and cost next to nothing; the momentum averages about `1 / friction` of them.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.trees.arithmetic import Tree, size_of
from numpyro_pl.trees.random_bits import normals, random_words, split_flat

__all__ = [
    "INCREMENTS",
    "Increments",
    "resolve_increments",
    "scaled_increments",
    "sign_probes",
    "tree_normal",
    "tree_signs",
]

INCREMENTS = ("auto", "gaussian", "signs")
"""Kinds of random increments."""

GAUSSIAN_LIMIT = 10_000
"""Number of coordinates up to which `"auto"` draws Gaussians: there they are cheap."""


def resolve_increments(kind: str, position: Tree) -> str:
    """
    Kind of increments for a position: `"auto"` is Gaussian up to 10,000 coordinates and
    signs above.

    :param str kind: one of :data:`INCREMENTS`.
    :param position: a tree of arrays.
    """
    if kind != "auto":
        return kind
    return "gaussian" if size_of(position) <= GAUSSIAN_LIMIT else "signs"


class Increments(NamedTuple):
    """
    The random numbers of one step.

    - **kind** - `"gaussian"` or `"signs"`.
    - **rng_key** - a PRNG key, used for nothing else.
    - **stream** - number of the first stream of the key that the step may use; streams
      are independent.
    """

    kind: str
    rng_key: jax.Array
    stream: Any = 0

    def scaled(self, sd: Tree, number: int = 0) -> Tree:
        """
        Independent increments of mean zero and standard deviation `sd`.

        :param sd: tree of standard deviations, >= 0, in the shape of the increments.
        :param int number: 0 for the first increments of a step, 1 for the second, ...
        """
        return scaled_increments(self.kind, self.rng_key, sd, self.stream + number)

    def white(self, like: Tree, sd: Any, number: int = 0) -> Tree:
        """Increments in the shape of `like`, of one standard deviation for all."""
        scale = jax.tree.map(
            lambda x: jnp.broadcast_to(sd, x.shape).astype(x.dtype), like
        )
        return self.scaled(scale, number)


def scaled_increments(kind: str, rng_key: jax.Array, sd: Tree, stream: Any = 0) -> Tree:
    """
    Independent increments of mean zero and standard deviation `sd`.

    :param str kind: `"gaussian"` or `"signs"`.
    :param rng_key: a PRNG key, see
        :func:`~numpyro_pl.trees.random_bits.random_words`.
    :param sd: tree of standard deviations, >= 0.
    :param stream: other streams of the same key are independent (the step number).
    :return: a tree like `sd`.
    """
    leaves, treedef = jax.tree.flatten(sd)
    if kind == "gaussian":
        size = sum(x.size for x in leaves)
        flat = normals(rng_key, size, jnp.result_type(*leaves), stream)
        values = split_flat(flat, [x.shape for x in leaves])
        moved = [x * r.astype(x.dtype) for x, r in zip(leaves, values, strict=True)]
        return jax.tree.unflatten(treedef, moved)
    return _flipped(sd, random_words(rng_key, _num_words(sd), stream))


def tree_normal(rng_key: jax.Array, like: Tree, stream: Any = 0) -> Tree:
    """Independent standard normal values in the shape of `like`."""
    return Increments("gaussian", rng_key, stream).white(like, 1.0)


def tree_signs(rng_key: jax.Array, like: Tree, stream: Any = 0) -> Tree:
    """Independent random signs in the shape of `like`."""
    return Increments("signs", rng_key, stream).white(like, 1.0)


def sign_probes(rng_key: jax.Array, like: Tree, num: int) -> Callable[[Any], Tree]:
    """
    A function of a whole number below `num` that returns the random signs of this
    stream, as :func:`tree_signs` has them, for the passes of a loop.

    The bits are drawn ahead of the loop. If they were drawn within, XLA would compute
    all rounds of a single word again in each kernel that reads one of its signs, and
    take minutes to compile some models of up to 32 coordinates.

    :param rng_key: a PRNG key.
    :param like: a tree of arrays.
    :param int num: number of passes.
    """
    size, ones = _num_words(like), jax.tree.map(jnp.ones_like, like)
    words = jax.vmap(partial(random_words, rng_key, size))(jnp.arange(num))
    return lambda t: _flipped(ones, words[t])


def _num_words(like: Tree) -> int:
    """Number of random words that hold the signs of a tree."""
    return sum(math.prod(_word_shape(x.shape)) for x in jax.tree.leaves(like))


def _flipped(tree: Tree, words: jax.Array) -> Tree:
    """The tree, with its entries negated whose bits are set."""
    leaves, treedef = jax.tree.flatten(tree)
    parts = split_flat(words, [_word_shape(x.shape) for x in leaves])
    flipped = [
        _flip(x, _unpack(w, x.shape)) for x, w in zip(leaves, parts, strict=True)
    ]
    return jax.tree.unflatten(treedef, flipped)


def _word_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the random words that hold a sign for each entry of `shape`."""
    if len(shape) < 2 or shape[0] < 8:
        return (-(-math.prod(shape) // 32),)
    return (-(-shape[0] // 32), *shape[1:])


def _unpack(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Bits of `words`, one to a uint32, in `shape`."""
    shifts = jnp.arange(32, dtype=jnp.uint32)
    if len(shape) < 2 or shape[0] < 8:
        bits = (words[None, :] >> shifts[:, None]) & 1
        return bits.reshape(-1)[: math.prod(shape)].reshape(shape)
    # Unpacking along the leading axis leaves the inner axes contiguous, so that the
    # shifts vectorize and fuse with the update that uses the signs.
    bits = (words[:, None] >> shifts.reshape((1, 32) + (1,) * (len(shape) - 1))) & 1
    return bits.reshape((-1, *shape[1:]))[: shape[0]]


def _flip(sd: jax.Array, bits: jax.Array) -> jax.Array:
    """Negate the entries of `sd` whose bit is set."""
    word = jnp.dtype(f"uint{8 * sd.dtype.itemsize}")
    top = 8 * sd.dtype.itemsize - 1
    flipped = lax.bitcast_convert_type(sd, word) ^ (bits.astype(word) << top)
    return lax.bitcast_convert_type(flipped, sd.dtype)
