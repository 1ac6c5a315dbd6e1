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
from jax import lax, random
import jax.numpy as jnp

__all__ = ["NOISES", "ema", "half_difference_variance", "resolve_noise", "scaled_noise"]

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
    size = sum(math.prod(jnp.shape(x)) for x in jax.tree.leaves(position))
    return "gaussian" if size <= GAUSSIAN_LIMIT else "signs"


def _sign_bits(rng_key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random bits in `shape`, one to a uint32, unpacked 32 from each random word."""
    shifts = jnp.arange(32, dtype=jnp.uint32)
    if len(shape) < 2 or shape[0] < 8:
        size = math.prod(shape)
        words = random.bits(rng_key, (-(-size // 32),), jnp.uint32)
        bits = (words[None, :] >> shifts[:, None]) & 1
        return bits.reshape(-1)[:size].reshape(shape)
    # Unpacking along the leading axis leaves the inner axes contiguous, so that the
    # shifts vectorize and fuse with the update that uses the signs.
    rows = -(-shape[0] // 32)
    words = random.bits(rng_key, (rows, *shape[1:]), jnp.uint32)
    bits = (words[:, None] >> shifts.reshape((1, 32) + (1,) * (len(shape) - 1))) & 1
    return bits.reshape((rows * 32, *shape[1:]))[: shape[0]]


def scaled_noise(kind: str, rng_key: jax.Array, scale: jax.Array) -> jax.Array:
    """
    Independent increments of mean zero and standard deviation `scale`.

    :param str kind: `"gaussian"` or `"signs"`.
    :param rng_key: a PRNG key.
    :param scale: array of standard deviations, >= 0.
    :return: array like `scale`.
    """
    if kind == "gaussian":
        return scale * random.normal(rng_key, scale.shape, scale.dtype)
    bits = _sign_bits(rng_key, scale.shape)
    word = jnp.dtype(f"uint{8 * scale.dtype.itemsize}")
    top = 8 * scale.dtype.itemsize - 1
    flipped = lax.bitcast_convert_type(scale, word) ^ (bits.astype(word) << top)
    return lax.bitcast_convert_type(flipped, scale.dtype)


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
