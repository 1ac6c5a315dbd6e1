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
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from numpyro_pl.model.handlers import density_model, seeded
from numpyro_pl.model.indices import INDICES_KWARG, Indices, Rows
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.sharding import Shards
from numpyro_pl.model.starts import UniformStarts, first_position
from numpyro_pl.trees.arithmetic import Tree, is_large, row, sum_of
from numpyro_pl.trees.random_bits import random_words

__all__ = ["Data", "MinibatchPotential"]

Data = tuple[tuple, dict]
"""Positional and keyword arguments of a model."""

FULL_CHUNK = 2048
"""Rows evaluated at a time on the full data: this bounds memory and does not affect
accuracy. Large models use the minibatch size, since sampling already has room for its
activations."""


class MinibatchPotential:
    """
    Potential energy of a model on minibatches and on the full data, as functions of the
    unconstrained latent values. Holds no data: the model's arguments are passed to each
    call, so a second data set is never confused with the first.

    :param model: a NumPyro model.
    :param PlateSizes plates: its subsampled plates.
    :param Shards shards: how the rows of the arguments are split over devices; None
        where they are not. The rows of a plate that has strata are then split.
    """

    def __init__(
        self, model: Callable, plates: PlateSizes, shards: Shards | None = None
    ):
        self.plates = plates
        self.shards = shards
        self._indexed = density_model(model)
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
        if self.shards is None:
            kwargs = {**kwargs, INDICES_KWARG: indices}
            return potential_energy(self._model, args, kwargs, position)
        shards = self.shards

        def of_part(part, position, indices):
            args, kwargs = part
            rows = shards.local_rows(indices, self._split_sizes)
            kwargs = {**kwargs, INDICES_KWARG: rows}
            return potential_energy(self._model, args, kwargs, position)

        return shards.mean(of_part, (args, kwargs), position, indices)

    @property
    def _split_sizes(self) -> dict[str, int]:
        """Sizes of the plates whose rows are split over devices."""
        return {n: p.size for n, p in self.plates.items() if p.is_split}

    def with_row_losses(
        self, position: Tree, indices: Indices, args, kwargs
    ) -> tuple[jax.Array, jax.Array]:
        """
        The potential on a minibatch, and the negative log likelihood of each of its
        rows times `size / rows`: these sum to the data's part of the potential. With
        several plates, none inside another, the rows of each in the order of their
        names.

        :return: (scalar, array of shape (rows,)), in nats.
        """
        known = {n: r if isinstance(r, Rows) else Rows(r) for n, r in indices.items()}
        dtype = jnp.result_type(*jax.tree.leaves(position))
        ones = {n: jnp.ones(r.numbers.shape, dtype) for n, r in known.items()}

        def energy(weights):
            weighed = {n: r._replace(weights=weights[n]) for n, r in known.items()}
            return self(position, weighed, args, kwargs)

        # The potential is linear in the weights.
        value, losses = jax.value_and_grad(energy)(ones)
        return value, jnp.concatenate([losses[name] for name in sorted(losses)])

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
            name: p.drawn(words[:, end - p.subsample_size : end])
            for end, (name, p) in zip(ends, plates, strict=True)
        }

    def halves(self, indices: Indices) -> Indices:
        """
        Split a minibatch in two independent halves (an odd last row is left out).

        :param indices: dict of index arrays of shape (subsample_size,).
        :return: dict of index arrays of shape (2, subsample_size // 2).
        """
        return self.parts(indices, 2)

    def parts(self, indices: Indices, num: int) -> Indices:
        """
        Split minibatches in independent parts of equal size; what does not fit is left
        out.

        :param indices: dict of index arrays of shape (..., subsample_size).
        :return: dict of index arrays of shape (num, rows).
        """

        def parts(name, rows):
            plate = self.plates[name]
            if not isinstance(rows, Rows):
                return plate.parts(rows, num)
            # With what was read for them.
            places = plate.parts(jnp.arange(rows.numbers.shape[0]), num)
            return jax.tree.map(lambda x: x[places], rows)

        return {name: parts(name, rows) for name, rows in indices.items()}

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

    def estimate(self, rng_key, position: Tree, args, kwargs, num: int = 1):
        """Unbiased estimate of the potential from `num` fresh minibatches."""
        if not self.plates:
            return self.full(position, args, kwargs)
        batches = self.draw_indices(rng_key, num)
        total = sum_of(lambda i: self(position, row(batches, i), args, kwargs), num)
        return total / num

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
        chunk = plate.share if large else max(FULL_CHUNK, plate.share)
        num = -(-plate.stratum_size // chunk)
        if num == 1:
            return fn(None)
        # Equal chunks, so that one program serves all: the last one may have a few rows
        # too many, which do not count.
        chunk = -(-plate.stratum_size // num)
        size = plate.stratum_size
        weight = num * chunk / size

        def of_chunk(i):
            rows = i * chunk + jnp.arange(chunk)
            index = jnp.broadcast_to(jnp.minimum(rows, size - 1), (plate.strata, chunk))
            if num * chunk == size:
                return fn({name: plate.of_strata(index)})
            weights = jnp.tile(jnp.where(rows < size, weight, 0.0), plate.strata)
            return fn({name: Rows(plate.of_strata(index), weights)})

        return jax.tree.map(lambda total: total / num, sum_of(of_chunk, num))

    def first_position(self, rng_key, data: Data, init_strategy: Callable) -> Tree:
        """
        Unconstrained initial values from a NumPyro strategy; a batch for a batch of
        keys.

        :param rng_key: a PRNG key, or a batch of them.
        """
        run = self._first_run(data)
        energy = partial(potential_energy, self._model, *run)
        return first_position(rng_key, self._indexed, run, init_strategy, energy)

    def uniform_starts(self, data: Data, init_strategy: Callable) -> UniformStarts:
        """What an `init_to_uniform` strategy draws for the model."""
        return UniformStarts.of(self._indexed, self._first_run(data), init_strategy)

    def _first_run(self, data: Data, blank: bool = False) -> Data:
        """
        Arguments with which the model takes its first minibatch.

        :param bool blank: whether rows that are split over devices may be made up.
        """
        indices, shards = self.first_rows(), self.shards
        if shards is not None:
            share, indices = self._split_share, self._rows_of_excerpt()
            if blank:
                data = shards.blank(data, share * shards.num)
            else:
                data = shards.excerpt(data, share)
        args, kwargs = data
        return args, {**kwargs, INDICES_KWARG: indices}

    def constrain_fn(self, data: Data, skip=()) -> Callable[[Tree], dict]:
        """
        Function from a position to constrained values of the latent sites and of the
        deterministic sites that do not depend on a minibatch. The model is replayed on
        one fixed minibatch, never on the full data.

        :param skip: names of deterministic sites to leave out.
        """
        # No site that is kept depends on rows, see `split_plates`.
        args, kwargs = self._first_run(data, blank=True)

        def constrain(position):
            values = constrain_fn(
                self._model, args, kwargs, position, return_deterministic=True
            )
            return {name: v for name, v in values.items() if name not in skip}

        return constrain

    def unconstrain_fn(self, data: Data) -> Callable[[dict], dict]:
        """
        Function from constrained values of the latent sites to a position; the model is
        replayed on one minibatch.
        """
        args, kwargs = data
        kwargs = {**kwargs, INDICES_KWARG: self.first_rows()}
        return lambda values: unconstrain_fn(self._model, args, kwargs, values)

    def first_rows(self, offset: int = 0) -> dict[str, jax.Array]:
        """The first minibatch of rows of each plate, from row `offset` on."""
        return {name: p.first_rows(offset) for name, p in self.plates.items()}

    @property
    def _split_share(self) -> int:
        """Rows of a minibatch on one device."""
        return min((p.share for p in self.plates.values() if p.is_split), default=1)

    def _rows_of_excerpt(self) -> dict[str, Any]:
        """:meth:`first_rows` where the arguments have only the rows of those."""
        assert self.shards is not None
        num = self._split_share * self.shards.num
        return {
            name: Rows(jnp.arange(num), None, p.size) if p.is_split else p.first_rows()
            for name, p in self.plates.items()
        }
