# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A NumPyro model's potential on minibatches.

A model that subsamples in the usual way, ::

    with numpyro.plate("data", N, subsample_size=B):
        x = numpyro.subsample(X, event_dim=1)
        ...

becomes a :class:`MinibatchPotential`: a function of the unconstrained latent values and
of explicit plate indices, together with the same function on the full data.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import constrain_fn, potential_energy

from numpyro_pl.model.handlers import (
    INDICES_KWARG,
    IndexedModel,
    Indices,
    seeded,
    weigh_rows,
)
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.starts import first_position
from numpyro_pl.trees.arithmetic import Tree, is_large, row, sum_of
from numpyro_pl.trees.random_bits import random_words

__all__ = ["Data", "MinibatchPotential", "PlainPotential", "as_it_is"]

Data = tuple[tuple, dict]
"""Positional and keyword arguments of a model."""

FULL_CHUNK = 2048
"""Rows evaluated at a time on the full data: this bounds memory and does not affect
accuracy. Large models use the minibatch size, since sampling already has room for its
activations."""


def _below(words: jax.Array, size: int) -> jax.Array:
    """
    Turn random words into random integers below `size`: the high word of
    `words * size`, in 16-bit pieces. This takes one random word per row;
    `random.randint` takes two or more. The probabilities of rows differ by at most a
    relative `size / 2^32`.
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
        self._indexed = IndexedModel(model)
        self._model = seeded(self._indexed)

    def __call__(self, position: Tree, indices: Indices | None, args, kwargs):
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

    def row_losses(self, position: Tree, indices: Indices, args, kwargs) -> jax.Array:
        """
        Negative log likelihood of each row of a minibatch times `size / rows`: the rows
        sum to the data's part of the potential.

        :return: array of shape (rows,), in nats.
        """
        ((plate, rows),) = indices.items()

        def energy(weights):
            with weigh_rows(plate, weights):
                return self(position, indices, args, kwargs)

        # The potential is linear in the weights.
        dtype = jnp.result_type(*jax.tree.leaves(position))
        return jax.grad(energy)(jnp.ones(rows.shape, dtype))

    def draw_indices(self, rng_key, num: int) -> dict[str, jax.Array]:
        """
        Draw `num` minibatches of rows with replacement, so that no pass over all N rows
        is needed and the halves of a minibatch are independent.

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

    def full(self, position: Tree, args, kwargs):
        """
        Potential on the full data. With one subsampled plate it is summed over chunks
        of rows, so that memory does not grow with the data.

        :return: scalar, in nats.
        """
        return self.mean_over_data(
            lambda indices: self(position, indices, args, kwargs), is_large(position)
        )

    def full_value_and_grad(self, position: Tree, args, kwargs):
        """
        Potential on the full data and its gradient, each chunk differentiated alone:
        the gradient of the sum over chunks would hold the activations of all the data.
        """
        fn = jax.value_and_grad(self.__call__)
        return self.mean_over_data(
            lambda indices: fn(position, indices, args, kwargs), is_large(position)
        )

    def estimate(self, rng_key, position: Tree, args, kwargs):
        """Unbiased estimate of the potential from one fresh minibatch."""
        if not self.plates:
            return self.full(position, args, kwargs)
        return self(position, row(self.draw_indices(rng_key, 1), 0), args, kwargs)

    def mean_over_data(self, fn: Callable[[Indices | None], Tree], large: bool) -> Tree:
        """
        Mean over the data of a minibatch function that is linear in the potential
        (value, gradient, Hessian-vector product): exactly its full-data value, since
        the prior is in each chunk and the weights sum to one.

        :param fn: function of plate indices (None: full data), returns a tree.
        :param bool large: whether the model is a large one.
        """
        if len(self.plates) != 1:
            return fn(None)
        ((name, plate),) = self.plates.items()
        chunk = plate.subsample_size
        chunk = chunk if large else max(FULL_CHUNK, chunk)
        num = -(-plate.size // chunk)
        if num == 1:
            return fn(None)
        # Equal chunks, so that one program serves all: the last one may have a few rows
        # too many, which do not count.
        chunk = -(-plate.size // num)
        weight = num * chunk / plate.size

        def of_chunk(i):
            rows = i * chunk + jnp.arange(chunk)
            if num * chunk == plate.size:
                return fn({name: rows})
            weights = jnp.where(rows < plate.size, weight, 0.0)
            with weigh_rows(name, weights):
                return fn({name: jnp.minimum(rows, plate.size - 1)})

        return jax.tree.map(lambda total: total / num, sum_of(of_chunk, num))

    def first_position(self, rng_key, data: Data, init_strategy: Callable) -> Tree:
        """
        Unconstrained initial values from a NumPyro strategy; a batch for a batch of
        keys.

        :param rng_key: a PRNG key, or a batch of them.
        """
        args, kwargs = data
        rows = self.first_rows()
        run = args, {**kwargs, INDICES_KWARG: rows}
        return first_position(
            rng_key,
            self._indexed,
            run,
            init_strategy,
            lambda position: self(position, rows, args, kwargs),
        )

    def constrain_fn(self, data: Data, skip=()) -> Callable[[Tree], dict]:
        """
        Function from a position to constrained values of the latent sites and of the
        deterministic sites that do not depend on a minibatch. The model is replayed on
        one fixed minibatch, never on the full data.

        :param skip: names of deterministic sites to leave out.
        """
        args, kwargs = data
        kwargs = {**kwargs, INDICES_KWARG: self.first_rows()}

        def constrain(position):
            values = constrain_fn(
                self._model, args, kwargs, position, return_deterministic=True
            )
            return {name: v for name, v in values.items() if name not in skip}

        return constrain

    def first_rows(self, offset: int = 0) -> dict[str, jax.Array]:
        """The first minibatch of rows of each plate, from row `offset` on."""
        return {
            name: (jnp.arange(p.subsample_size) + offset) % p.size
            for name, p in self.plates.items()
        }


class PlainPotential:
    """
    A potential energy that the user gives as a function of the position alone, with the
    methods of a :class:`MinibatchPotential` without plates.

    :param potential_fn: function from a tree of arrays to a scalar, in nats.
    """

    def __init__(self, potential_fn: Callable[[Tree], jax.Array]):
        self.plates = PlateSizes()
        self._potential_fn = potential_fn

    def __call__(self, position: Tree, indices, args, kwargs):
        """The potential; it has neither rows nor arguments."""
        return self._potential_fn(position)

    def full(self, position: Tree, args, kwargs):
        """The potential."""
        return self._potential_fn(position)

    def mean_over_data(self, fn: Callable[[None], Tree], large: bool) -> Tree:
        """What `fn` returns: there are no minibatches."""
        return fn(None)

    def full_value_and_grad(self, position: Tree, args, kwargs):
        """The potential and its gradient."""
        return jax.value_and_grad(self._potential_fn)(position)

    def estimate(self, rng_key, position: Tree, args, kwargs):
        """The potential: there is no minibatch to estimate it from."""
        return self._potential_fn(position)

    def first_position(self, rng_key, data: Data, init_strategy: Callable):
        """:raises ValueError: always: a plain function does not say where to start."""
        raise ValueError(
            "init_params must be given with `potential_fn`: "
            "mcmc.run(key, init_params=...)."
        )

    def constrain_fn(self, data: Data, skip=()) -> Callable[[Tree], Tree]:
        """The identity: draws stay as they are."""
        return as_it_is


def as_it_is(position: Tree) -> Tree:
    """The same tree, for draws that need no constraining."""
    return position
