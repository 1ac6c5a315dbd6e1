# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A NumPyro model and its minibatch potential.

This is the only module that touches NumPyro's handlers, plates and traces. A model
that subsamples in the usual way, ::

    with numpyro.plate("data", N, subsample_size=B):
        x = numpyro.subsample(X, event_dim=1)
        ...

becomes a :class:`MinibatchPotential`: a function of the unconstrained latent values
and of explicit plate indices, with the same function on the full data beside it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.primitives as primitives
from jax import random
from numpyro import handlers
from numpyro.infer.util import constrain_fn, potential_energy

from numpyro_pl.dynamics.random_bits import random_words

__all__ = [
    "FullDataModel",
    "IndexedModel",
    "MinibatchPotential",
    "PlateSize",
    "PlateSizes",
    "open_plates",
]

INDICES_KWARG = "_numpyro_pl_indices"
"""Reserved model keyword through which plate indices travel."""

Indices = Mapping[str, jax.Array]
Position = Any

FULL_CHUNK = 2048
"""Rows evaluated at a time on the full data: bounds memory, not accuracy."""


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


class PlateSize(NamedTuple):
    """
    Sizes of one subsampled plate.

    - **size** - number of rows N.
    - **subsample_size** - number of rows B in a minibatch.
    """

    size: int
    subsample_size: int


class _SetPlates(primitives.Messenger):
    """
    Give subsampled plates the indices in `indices`; the ones not named there are opened
    to their full size. `numpyro.handlers.substitute` would warn here, because it leaves
    the plate's own `subsample_size` as it is.
    """

    def __init__(self, fn=None, indices: Indices | None = None):
        self.indices = {} if indices is None else indices
        super().__init__(fn)

    def process_message(self, msg):
        if msg["type"] != "plate":
            return
        size, subsample_size = msg["args"]
        if msg["name"] in self.indices:
            indices = self.indices[msg["name"]]
        elif subsample_size is not None and subsample_size != size:
            indices = jnp.arange(size)
        else:
            return
        msg["args"] = (size, indices.shape[0])
        msg["value"] = indices


class _RecordPlates(primitives.Messenger):
    """Record the sizes of the plates as the model states them."""

    def __init__(self, fn=None):
        self.plates: dict[str, tuple[int, int | None]] = {}
        super().__init__(fn)

    def process_message(self, msg):
        if msg["type"] == "plate":
            self.plates[msg["name"]] = msg["args"]


def open_plates(model: Callable, *args, **kwargs) -> Any:
    """
    Run `model` with every subsampled plate opened to its full size.

    :param model: a NumPyro model.
    :param args: positional arguments of the model.
    :param kwargs: keyword arguments of the model.
    :return: what the model returns.
    """
    with _SetPlates():
        return model(*args, **kwargs)


class FullDataModel:
    """
    A model with every subsampled plate opened to its full size: what ArviZ,
    `Predictive` and the log-likelihood should see. Calls like the model itself and
    pickles with it.

    :param model: a NumPyro model.
    """

    def __init__(self, model: Callable):
        self.model = model
        self.__name__ = getattr(model, "__name__", type(model).__name__)
        self.__doc__ = getattr(model, "__doc__", None)

    def __call__(self, *args, **kwargs):
        """Run the model on the full data."""
        return open_plates(self.model, *args, **kwargs)


class IndexedModel:
    """
    A model whose subsampled plates take their indices from the reserved keyword
    :data:`INDICES_KWARG`, a dict of index arrays by plate name. Plates that it does not
    name are opened to their full size.

    :param model: a NumPyro model.
    """

    def __init__(self, model: Callable):
        self.model = model

    def __call__(self, *args, **kwargs):
        """Run the model on the rows that the reserved keyword names."""
        indices = kwargs.pop(INDICES_KWARG, None)
        with _SetPlates(indices=indices):
            return self.model(*args, **kwargs)


class PlateSizes(dict):
    """Subsampled plates of a model: `{plate_name: PlateSize}`."""

    @classmethod
    def of(cls, model: Callable, *args, **kwargs) -> "PlateSizes":
        """
        Run `model` once, abstractly (no arithmetic), and list its subsampled plates.

        :param model: a NumPyro model.
        :param args: positional arguments of the model.
        :param kwargs: keyword arguments of the model.
        :raises ValueError: where `subsample_size` is larger than the plate, or 1, or an
            array has another length than its plate.
        """
        # Innermost handlers see a message first: the recorder sees what the model says.
        recorder = _RecordPlates(handlers.seed(model, random.key(0)))
        opened = _SetPlates(recorder)

        def run():
            opened(*args, **kwargs)

        try:
            jax.eval_shape(run)
        except ValueError as error:
            if "numpyro.subsample" not in str(error):
                raise
            message = str(error).splitlines()[0]
            raise ValueError(
                f"{message}. Every array under a subsampled plate needs the plate's "
                "length along the plate's dimension: check the lengths of the model's "
                "arguments and the event_dim of numpyro.subsample."
            ) from error
        plates = cls()
        for name, (size, subsample_size) in recorder.plates.items():
            if subsample_size is None or subsample_size == size:
                continue
            if subsample_size > size:
                raise ValueError(
                    f"plate '{name}' has subsample_size={subsample_size}, more than "
                    f"its size {size}. Lower subsample_size to at most {size}; without "
                    "subsample_size the whole data is used at each step."
                )
            if subsample_size < 2:
                raise ValueError(
                    f"plate '{name}' has subsample_size={subsample_size}. The spread "
                    "of the minibatch noise is measured within each minibatch, which "
                    "takes at least 2 rows; 32 to 512 are usual."
                )
            plates[name] = PlateSize(int(size), int(subsample_size))
        return plates

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches in one pass over the largest plate (relative to its batch)."""
        return max((-(-p.size // p.subsample_size) for p in self.values()), default=1)


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
        # A fixed key serves `param` sites of neural network modules, whose values are
        # replaced by the latent ones; no randomness reaches the potential.
        self._model = handlers.seed(IndexedModel(model), random.key(0))

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
            lambda indices: self(position, indices, args, kwargs)
        )

    def full_value_and_grad(self, position: Position, args, kwargs):
        """Potential on the full data and its gradient, in chunks as :meth:`full`."""
        fn = jax.value_and_grad(self.__call__)
        return self.reduce_over_data(
            lambda indices: fn(position, indices, args, kwargs)
        )

    def reduce_over_data(self, fn: Callable[[Indices | None], Any]):
        """
        Mean over the data of a minibatch function that is linear in the potential
        (value, gradient, Hessian-vector product): exactly its full-data value, since
        the prior is in each chunk and weights sum to one.

        :param fn: function of plate indices (None: full data), returns a tree.
        """
        if len(self.plates) != 1:
            return fn(None)
        ((name, plate),) = self.plates.items()
        chunk = max(FULL_CHUNK, plate.subsample_size)
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
