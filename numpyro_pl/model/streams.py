# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Data that stays on the host or on disk: an argument of a model that is read a few rows
at a time, ahead of the steps that need them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.model.row_reader import RowReader

__all__ = ["Streamed", "read_rows", "rows_at_hand", "streams_in"]

_at_hand: ContextVar[Mapping[int, tuple[Any, jax.Array]]] = ContextVar(
    "rows_at_hand", default=MappingProxyType({})
)
"""Rows that were read already: for each stream, the index they belong to and them."""


class Streamed:
    """
    Rows that stay where they are until a minibatch needs them, made by
    :func:`~numpyro_pl.store.streamed`. A model indexes it by the indices of a plate, or
    passes it to `numpyro.subsample`.

    :param RowReader reader: what reads the rows.
    """

    stays_on_host = True
    """Not an array to be moved to the device."""

    def __init__(self, reader: RowReader):
        self._reader = reader
        self.shape = (reader.num_rows, *reader.row_shape)
        self.dtype = reader.dtype
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape, dtype=float))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"streamed({self._reader.label}, shape={self.shape}, {self.dtype.name})"

    @property
    def description(self) -> str:
        """What it is, for comparison with an earlier run: no row is read."""
        return f"{self!r} {self._reader.version}"

    def __getitem__(self, index: Any) -> jax.Array:
        """
        The rows of an array of row numbers, or of a slice of known numbers.

        :raises TypeError: for any other index.
        """
        known, rows = _at_hand.get().get(id(self), (None, None))
        if rows is not None and index is known:
            return rows
        if isinstance(index, slice):
            index = np.arange(len(self))[index]
        elif isinstance(index, int):
            return self[np.asarray([index])][0]
        if not hasattr(index, "dtype") or not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"{self!r} takes an array of row numbers, such as the indices of a "
                f"plate, x[ind]; got {index!r}. Take further axes after that: "
                "x[ind][:, 3]."
            )
        return self.rows(index)

    def rows(self, index: Any, after: Any = None) -> jax.Array:
        """
        Read rows.

        :param index: array of row numbers; may be traced.
        :param after: array of row numbers that will be asked for next, and are read in
            the background; None for none.
        :return: array of shape `index.shape + shape[1:]`.
        """
        if not isinstance(index, jax.core.Tracer):
            return jnp.asarray(self._reader.read(np.asarray(index)))
        shape = jax.ShapeDtypeStruct((*index.shape, *self.shape[1:]), self.dtype)
        wanted = (index,) if after is None else (index, after)
        return jax.pure_callback(
            self._reader.read, shape, *wanted, vmap_method="broadcast_all"
        )

    def _refuse(self, *_):
        raise TypeError(
            f"{self!r} is not an array: take rows by the indices of a plate, x[ind], "
            "and compute with those. A transformation of all the data (such as "
            "standardizing) belongs in the model after that, or in the file."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = _refuse
    __array__ = _refuse


def streams_in(data: Any) -> list[Streamed]:
    """The streams among the arguments of a model, each once."""
    leaves = [leaf for leaf in jax.tree.leaves(data) if isinstance(leaf, Streamed)]
    return list({id(leaf): leaf for leaf in leaves}.values())


def read_rows(
    sizes: Mapping[str, int], batches: Mapping, after: Mapping, data: Any
) -> dict[str, tuple]:
    """
    The rows of the streams for some minibatches, read at once for all of them.

    :param dict sizes: number of rows of each plate, by name.
    :param dict batches: index arrays of shape (num, subsample_size) by plate name.
    :param dict after: the minibatches that follow, read in the background.
    :param data: the model's arguments.
    :return: for each plate a tuple over the streams, None for those that are not as
        long as the plate.
    """
    return {
        name: tuple(
            stream.rows(batches[name], after[name]) if len(stream) == size else None
            for stream in streams_in(data)
        )
        for name, size in sizes.items()
    }


@contextmanager
def rows_at_hand(
    streams: list[Streamed], known: list[tuple[jax.Array, tuple]]
) -> Iterator[None]:
    """
    Context in which indexing a stream by an array of row numbers, the same object,
    gives rows that were read before.

    :param list streams: the streams.
    :param list known: such arrays, each with the rows of every stream, None for streams
        that it does not index.
    """
    mine = {
        id(stream): (index, of_stream)
        for index, rows in known
        for stream, of_stream in zip(streams, rows, strict=True)
        if of_stream is not None
    }
    token = _at_hand.set({**_at_hand.get(), **mine})
    try:
        yield
    finally:
        _at_hand.reset(token)
