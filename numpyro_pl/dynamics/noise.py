# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Random increments, and the running estimate of the gradient noise.

On a CPU the random numbers, not the gradient, are the dear part of a Langevin step: a
million Gaussians cost more than a minibatch gradient of a million-parameter network.
Random signs, 32 from each random word, have the same mean, variance and third moment
and cost next to nothing; the momentum averages about `1 / friction` of them.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from numpyro_pl._sizes import size_of
from numpyro_pl.dynamics.random_bits import normals, random_words

__all__ = [
    "NOISES",
    "ema",
    "half_difference_variance",
    "resolve_noise",
    "scaled_noise",
    "tree_normal",
    "tree_signs",
]

Tree = Any

NOISES = ("auto", "gaussian", "signs")
"""Kinds of random increments."""

GAUSSIAN_LIMIT = 10_000
"""Number of coordinates up to which `"auto"` draws Gaussians: there they are cheap."""


def resolve_noise(kind: str, position: Tree) -> str:
    """
    Kind of increments for a position: `"auto"` is Gaussian up to 10,000 coordinates and
    signs above.

    :param str kind: one of :data:`NOISES`.
    :param position: a tree of arrays.
    """
    if kind != "auto":
        return kind
    return "gaussian" if size_of(position) <= GAUSSIAN_LIMIT else "signs"


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


def _flip(scale: jax.Array, bits: jax.Array) -> jax.Array:
    """Negate the entries of `scale` whose bit is set."""
    word = jnp.dtype(f"uint{8 * scale.dtype.itemsize}")
    top = 8 * scale.dtype.itemsize - 1
    flipped = lax.bitcast_convert_type(scale, word) ^ (bits.astype(word) << top)
    return lax.bitcast_convert_type(flipped, scale.dtype)


def _split_flat(flat: jax.Array, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    ends = np.cumsum([math.prod(s) for s in shapes])
    return [
        flat[end - math.prod(s) : end].reshape(s)
        for end, s in zip(ends, shapes, strict=True)
    ]


def scaled_noise(kind: str, rng_key: jax.Array, scale: Tree, stream: Any = 0) -> Tree:
    """
    Independent increments of mean zero and standard deviation `scale`.

    :param str kind: `"gaussian"` or `"signs"`.
    :param rng_key: a PRNG key, see
        :func:`~numpyro_pl.dynamics.random_bits.random_words`.
    :param scale: tree of standard deviations, >= 0.
    :param stream: other streams of the same key are independent (the step number).
    :return: a tree like `scale`.
    """
    leaves, treedef = jax.tree.flatten(scale)
    if kind == "gaussian":
        size = sum(x.size for x in leaves)
        flat = normals(rng_key, size, jnp.result_type(*leaves), stream)
        values = _split_flat(flat, [x.shape for x in leaves])
        moved = [x * r.astype(x.dtype) for x, r in zip(leaves, values, strict=True)]
        return jax.tree.unflatten(treedef, moved)
    shapes = [_word_shape(x.shape) for x in leaves]
    size = sum(math.prod(s) for s in shapes)
    words = _split_flat(random_words(rng_key, size, stream), shapes)
    flipped = [
        _flip(x, _unpack(w, x.shape)) for x, w in zip(leaves, words, strict=True)
    ]
    return jax.tree.unflatten(treedef, flipped)


def tree_normal(rng_key: jax.Array, like: Tree, stream: Any = 0) -> Tree:
    """Independent standard normal values in the shape of `like`."""
    ones = jax.tree.map(jnp.ones_like, like)
    return scaled_noise("gaussian", rng_key, ones, stream)


def tree_signs(rng_key: jax.Array, like: Tree, stream: Any = 0) -> Tree:
    """Independent random signs in the shape of `like`."""
    return scaled_noise("signs", rng_key, jax.tree.map(jnp.ones_like, like), stream)


def half_difference_variance(first: Tree, second: Tree, fraction: float = 1.0) -> Tree:
    """
    Unbiased estimate of the variance of the mean of two independent half-batch
    gradients, `(first - second)^2 / 4`, per coordinate.

    :param first: gradient on one half of a minibatch (each scaled to the full data).
    :param second: gradient on the other half.
    :param float fraction: rows used, relative to the minibatch whose variance is wanted
        (an odd row is left out of the halves).
    :return: a tree like the gradient, in its units squared.
    """
    return jax.tree.map(
        lambda a, b: (0.25 * fraction) * jnp.square(a - b), first, second
    )


def ema(average: jax.Array, value: jax.Array, rate) -> jax.Array:
    """One step of an exponential moving average that ignores non-finite values."""
    return jnp.where(jnp.isfinite(value), average + rate * (value - average), average)
