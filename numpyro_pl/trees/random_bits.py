# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Random words by counter: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw 2011,
the generator of `jax.random`), with its rounds unrolled and a free second counter.

`jax.random` rolls the rounds in a loop on CPU, which costs a pass over memory for each
group of rounds and hundreds of operations to compile for each call and each derived
key. Here a call is one fused loop, and a loop over steps needs no new keys: the step
number is the second counter.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random

__all__ = ["is_single_key", "normals", "random_words", "threefry_2x32"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def is_single_key(rng_key: jax.Array) -> bool:
    """Whether this is one PRNG key, typed or raw, and not a batch of them."""
    typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    return rng_key.ndim == (0 if typed else 1)


def threefry_2x32(key: tuple, counter: tuple) -> tuple[jax.Array, jax.Array]:
    """
    Threefry-2x32-20.

    :param key: two uint32 scalars.
    :param counter: two uint32 arrays that broadcast.
    :return: two uint32 arrays.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << r) | (x1 >> (32 - r)))
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
