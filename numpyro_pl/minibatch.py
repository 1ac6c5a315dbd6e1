# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A NumPyro model's potential on minibatches.

A model that subsamples in the usual way, ::

    with numpyro.plate("data", N, subsample_size=B):
        x = numpyro.subsample(X, event_dim=1)
        ...

becomes a :class:`MinibatchPotential`: a function of the unconstrained latent values
and of explicit plate indices, with the same function on the full data beside it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import constrain_fn, potential_energy

from numpyro_pl._handlers import (
    INDICES_KWARG,
    FullDataModel,
    IndexedModel,
    Indices,
    PlateSize,
    PlateSizes,
    open_plates,
    seeded,
)
from numpyro_pl._sizes import is_large
from numpyro_pl.dynamics.random_bits import random_words

__all__ = [
    "INDICES_KWARG",
    "FullDataModel",
    "IndexedModel",
    "Indices",
    "MinibatchPotential",
    "PlateSize",
    "PlateSizes",
    "open_plates",
]

Position = Any

FULL_CHUNK = 2048
"""Rows evaluated at a time on the full data: bounds memory, not accuracy. In large
models it is a minibatch, whose activations sampling has room for."""


def _below(words: jax.Array, size: int) -> jax.Array:
    """
    Random words to random integers below `size`: the high word of `words * size`, in
    16-bit pieces. One random word a row where `random.randint` takes two and more; rows
    differ in probability by a relative `size / 2^32` at most.
    """
    low, high = jnp.uint32(size & 0xFFFF), jnp.uint32(size >> 16)
    w_low, w_high = words & 0xFFFF, words >> 16
    middle = w_high * low + ((w_low * low) >> 16)
    carry = w_low * high + (middle & 0xFFFF)
    return (w_high * high + (middle >> 16) + (carry >> 16)).astype(int)


class MinibatchPotential:
    """
    Potential energy of a model on minibatches and on the full data, as functions of the
    unconstrained latent values. Holds no data: the model's arguments are passed to each
    call, so a second data set is never confused with the first.

    :param model: a NumPyro model.
    :param PlateSizes plates: its subsampled plates.
    """

    def __init__(self, model: Callable, plates: PlateSizes):
        self.plates = plates
        self._model = seeded(IndexedModel(model))

    def __call__(self, position: Position, indices: Indices | None, args, kwargs):
        """
        Unbiased estimate of the full-data potential from the rows `indices`.

        :param position: unconstrained latent values, a dict of arrays by site name.
        :param indices: rows by plate name; None for the full data.
        :param tuple args: positional arguments of the model.
        :param dict kwargs: keyword arguments of the model.
        :return: scalar, in nats.
        """
        kwargs = {**kwargs, INDICES_KWARG: indices}
        return potential_energy(self._model, args, kwargs, position)

    def draw_indices(self, rng_key, num: int) -> dict[str, jax.Array]:
        """
        Draw `num` minibatches of rows with replacement, so that no pass over N is made
        and the halves of a minibatch are independent.

        :param rng_key: a PRNG key.
        :param int num: number of minibatches.
        :return: dict of integer arrays of shape (num, subsample_size), by plate name.
        """
        plates = sorted(self.plates.items())
        total = sum(p.subsample_size for _, p in plates)
        words = random_words(rng_key, num * total).reshape(num, total)
        ends = np.cumsum([p.subsample_size for _, p in plates])
        return {
            name: _below(words[:, end - p.subsample_size : end], p.size)
            for end, (name, p) in zip(ends, plates, strict=True)
        }

    def halves(self, indices: Indices) -> dict[str, jax.Array]:
        """
        Split a minibatch in two independent halves (an odd last row is left out).

        :param indices: dict of index arrays of shape (subsample_size,).
        :return: dict of index arrays of shape (2, subsample_size // 2).
        """
        return {
            name: rows[: 2 * (rows.shape[0] // 2)].reshape(2, -1)
            for name, rows in indices.items()
        }

    def full(self, position: Position, args, kwargs):
        """
        Potential on the full data. With one subsampled plate it is summed over chunks
        of rows, so that memory does not grow with the data.

        :return: scalar, in nats.
        """
        return self.reduce_over_data(
            lambda indices: self(position, indices, args, kwargs), is_large(position)
        )

    def full_value_and_grad(self, position: Position, args, kwargs):
        """Potential on the full data and its gradient, in chunks as :meth:`full`."""
        fn = jax.value_and_grad(self.__call__)
        return self.reduce_over_data(
            lambda indices: fn(position, indices, args, kwargs), is_large(position)
        )

    def reduce_over_data(self, fn: Callable[[Indices | None], Any], large: bool):
        """
        Mean over the data of a minibatch function that is linear in the potential
        (value, gradient, Hessian-vector product): exactly its full-data value, since
        the prior is in each chunk and weights sum to one.

        :param fn: function of plate indices (None: full data), returns a tree.
        :param bool large: whether the model is a large one.
        """
        if len(self.plates) != 1:
            return fn(None)
        ((name, plate),) = self.plates.items()
        chunk = plate.subsample_size
        chunk = chunk if large else max(FULL_CHUNK, chunk)
        num, rest = divmod(plate.size, chunk)
        if num == 0 or (num == 1 and rest == 0):
            return fn(None)
        weight = chunk / plate.size

        def body(total, i):
            rows = i * chunk + jnp.arange(chunk)
            value = fn({name: rows})
            return jax.tree.map(lambda t, v: t + weight * v, total, value), None

        start = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(lambda: fn({name: jnp.arange(chunk)})),
        )
        total, _ = jax.lax.scan(body, start, jnp.arange(num))
        if rest:
            value = fn({name: jnp.arange(num * chunk, plate.size)})
            weight = rest / plate.size
            total = jax.tree.map(lambda t, v: t + weight * v, total, value)
        return total

    def constrain(self, position: Position, args, kwargs, skip=()):
        """
        Constrained values of the latent sites and the deterministic sites that do not
        depend on a minibatch. The model is replayed on one fixed minibatch, never on
        the full data.

        :param position: unconstrained latent values.
        :param skip: names of deterministic sites to leave out.
        :return: dict of arrays by site name.
        """
        kwargs = {**kwargs, INDICES_KWARG: self.first_rows()}
        values = constrain_fn(
            self._model, args, kwargs, position, return_deterministic=True
        )
        return {name: v for name, v in values.items() if name not in skip}

    def first_rows(self, offset: int = 0) -> dict[str, jax.Array]:
        """The first minibatch of rows of each plate, from row `offset` on."""
        return {
            name: (jnp.arange(p.subsample_size) + offset) % p.size
            for name, p in self.plates.items()
        }
