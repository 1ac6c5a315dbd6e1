# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Random words by counter: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw 2011,
the generator of `jax.random`), with its rounds unrolled and a free second counter.

`jax.random` rolls the rounds in a loop on CPU, which costs a pass over memory for each
group of rounds and hundreds of operations to compile for each call and each derived
key. Here a call is one fused loop, and a loop over steps needs no new keys: the step
number is the second counter.

Keys are derived as `jax.random` does it, in one small loop without the dozen
operations around it, each of which XLA's CPU compiler makes a kernel of.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

__all__ = [
    "fold_in",
    "is_single_key",
    "normals",
    "random_words",
    "split",
    "split_flat",
    "threefry_2x32",
    "uniforms",
]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def is_single_key(rng_key: jax.Array) -> bool:
    """Whether this is one PRNG key, typed or raw, and not a batch of them."""
    typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    return rng_key.ndim == (0 if typed else 1)


@jax.jit
def threefry_2x32(key: tuple, counter: tuple) -> tuple[jax.Array, jax.Array]:
    """
    Threefry-2x32-20.

    :param key: two uint32 scalars, or arrays like the counter.
    :param counter: two uint32 arrays that broadcast.
    :return: two uint32 arrays.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        x0, x1 = _rounds(x0, x1, _ROTATIONS[group % 2])
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return x0, x1


def random_words(rng_key: jax.Array, size: int, stream: Any = 0) -> jax.Array:
    """
    Independent uniform 32-bit words.

    :param rng_key: a PRNG key, typed or raw, of any generator; not to be used
        elsewhere.
    :param int size: number of words.
    :param stream: whole number below 2^32 (an array will do): other streams of the same
        key are independent.
    :return: uint32 array of shape (size,).
    """
    data = random.key_data(rng_key).astype(jnp.uint32)
    key = (data[0], data[1])
    for i in range(2, data.shape[0], 2):
        # Hashed, not combined by exclusive or: keys of `rbg` repeat their halves.
        key = threefry_2x32(key, (data[i], data[i + 1]))
    position = lax.iota(jnp.uint32, -(-size // 2))
    x0, x1 = threefry_2x32(key, (position, jnp.asarray(stream).astype(jnp.uint32)))
    return jnp.concatenate([x0, x1])[:size]


def uniforms(
    rng_keys: jax.Array, shapes: Sequence[tuple[int, ...]], low: float, high: float
) -> list[jax.Array]:
    """
    The values of :func:`jax.random.uniform` for some keys, with less to compile: one
    kernel for all of them.

    :param rng_keys: PRNG keys, typed or raw, of any generator.
    :param shapes: shape of the values that belong to each of them.
    :param float low: their lower bound.
    :param float high: their upper bound.
    """
    dtype = jnp.result_type(float)
    if not _is_plain_threefry(rng_keys) or dtype != jnp.float32:
        pairs = zip(rng_keys, shapes, strict=True)
        return [random.uniform(key, shape, dtype, low, high) for key, shape in pairs]
    data, sizes = random.key_data(rng_keys), [math.prod(shape) for shape in shapes]
    counter = jnp.concatenate([lax.iota(jnp.uint32, size) for size in sizes])
    key = tuple(
        jnp.concatenate(
            [jnp.full(n, word) for n, word in zip(sizes, words, strict=True)]
        )
        for words in (data[:, 0], data[:, 1])
    )
    x0, x1 = threefry_2x32(key, (jnp.zeros_like(counter), counter))
    # The upper 23 bits as the digits of a number from 1 to 2.
    ones = lax.bitcast_convert_type(jnp.float32(1.0), jnp.uint32)
    unit = lax.bitcast_convert_type((x0 ^ x1) >> 9 | ones, jnp.float32) - 1.0
    return split_flat(jnp.maximum(low, unit * (high - low) + low), shapes)


def split_flat(flat: jax.Array, shapes: Sequence[tuple[int, ...]]) -> list[jax.Array]:
    """The arrays of these shapes that one after the other make up a flat one."""
    ends = np.cumsum([math.prod(s) for s in shapes])
    return [
        flat[end - math.prod(s) : end].reshape(s)
        for end, s in zip(ends, shapes, strict=True)
    ]


def split(rng_key: jax.Array, num: int = 2) -> jax.Array:
    """
    The keys of :func:`jax.random.split`, with less to compile.

    :param rng_key: a PRNG key, typed or raw, of any generator.
    :param int num: number of keys.
    """
    if not _is_plain_threefry(rng_key):
        return random.split(rng_key, num)
    return _derived(rng_key, lax.iota(jnp.uint32, num))


def fold_in(rng_key: jax.Array, number: Any) -> jax.Array:
    """
    The key of :func:`jax.random.fold_in`, with less to compile.

    :param rng_key: a PRNG key, typed or raw, of any generator.
    :param number: a whole number below 2^32; may be traced.
    """
    if not _is_plain_threefry(rng_key):
        return random.fold_in(rng_key, number)
    return _derived(rng_key, jnp.asarray(number, jnp.uint32))


def _is_plain_threefry(rng_key: jax.Array) -> bool:
    """Whether JAX derives keys from this one as :func:`_derived` does."""
    partitionable = getattr(jax.config, "jax_threefry_partitionable", True)
    return partitionable and random.key_impl(rng_key) == "threefry2x32"


def _derived(rng_key: jax.Array, numbers: jax.Array) -> jax.Array:
    """
    Keys with numbers, of the shape of the numbers. The rounds are rolled in one small
    loop: unrolled, all of them would be computed again wherever a key is used.
    """
    data = random.key_data(rng_key)
    schedule = (data[0], data[1], data[0] ^ data[1] ^ _PARITY)

    def key_word(number):
        which = number % 3
        last = jnp.where(which == 1, schedule[1], schedule[2])
        return jnp.where(which == 0, schedule[0], last)

    def group(i, words):
        x0 = words[..., 0] + jnp.where(i == 0, schedule[0], 0)
        x1 = words[..., 1] + jnp.where(i == 0, schedule[1], 0)
        even, odd = (np.array(r, np.uint32) for r in _ROTATIONS)
        rotations = [
            jnp.where(i % 2 == 0, *pair) for pair in zip(even, odd, strict=True)
        ]
        x0, x1 = _rounds(x0, x1, rotations)
        return jnp.stack([x0 + key_word(i + 1), x1 + key_word(i + 2) + i + 1], -1)

    start = jnp.stack([jnp.zeros_like(numbers), numbers], -1)
    keys = lax.fori_loop(jnp.uint32(0), jnp.uint32(5), group, start)
    typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    return random.wrap_key_data(keys, impl="threefry2x32") if typed else keys


def _rounds(x0: jax.Array, x1: jax.Array, rotations: Any) -> tuple:
    """Four rounds."""
    for r in rotations:
        x0 = x0 + x1
        x1 = x0 ^ ((x1 << r) | (x1 >> (32 - r)))
    return x0, x1


def normals(rng_key: jax.Array, size: int, dtype, stream: Any = 0) -> jax.Array:
    """
    Independent standard normal values, by inversion of 23 (float32) or 52 (float64)
    random bits.

    :param rng_key: a PRNG key, see :func:`random_words`.
    :param int size: number of values.
    :param dtype: their type.
    :param stream: see :func:`random_words`.
    """
    if jnp.dtype(dtype) == jnp.float64:
        words = random_words(rng_key, 2 * size, stream).astype(jnp.uint64)
        words = (words[:size] << jnp.uint64(32)) | words[size:]
        fraction, digits = words >> jnp.uint64(12), 52
    else:
        fraction, digits = random_words(rng_key, size, stream) >> 9, 23
        dtype = jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype
    # Centers of 2^digits cells of (-1, 1): symmetric, and never an end point.
    uniform = (fraction.astype(dtype) + 0.5) * 2.0 ** (1 - digits) - 1.0
    return jnp.sqrt(2.0).astype(dtype) * lax.erf_inv(uniform)
