# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Rows read from files and other sources, some of them before they are asked for."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from numpyro_pl.model.file_rows import rows_of_file

__all__ = ["RowReader"]

MOST_AHEAD = 8
"""Reads that are kept at most until they are asked for."""


class RowReader:
    """
    Reads rows of a source.

    :param source: see :func:`~numpyro_pl.store.streamed`.
    :param int threads: threads that share one read.
    :raises TypeError: for a source without rows.
    :raises ValueError: for an empty source, one of objects, or threads below 1.
    """

    def __init__(self, source: Any, threads: int):
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads must be a whole number from 1, got {threads!r}.")
        self._take, self.num_rows, self.row_shape, dtype = _opened(source)
        self._rows = rows_of_file(source)
        self._in_memory = isinstance(source, np.ndarray) and self._rows is None
        native = dtype.newbyteorder("=")
        self.dtype = np.dtype(jax.dtypes.canonicalize_dtype(native))
        self._threads = threads
        self._file = getattr(source, "filename", None)
        self._bytes = getattr(source, "offset", 0) + getattr(source, "nbytes", 0)
        named = self._file or getattr(source, "name", None) or type(source).__name__
        self.label = f"'{named}'" if self._file else str(named)
        self._ahead: dict[bytes, Future] = {}
        self._lock = threading.Lock()
        self._workers: ThreadPoolExecutor | None = None
        self._foreman: ThreadPoolExecutor | None = None

    @property
    def version(self) -> str:
        """The file's size and time of its last change; empty where there is none."""
        if self._file is None:
            return ""
        found = os.stat(self._file)
        return f"{found.st_size} bytes, changed {found.st_mtime_ns}"

    def read(self, index: Any, after: Any = None) -> np.ndarray:
        """
        The rows `index`; the rows `after` are then read in the background.

        :param index: array of row numbers.
        :param after: array of row numbers, or None.
        :return: array of shape `index.shape + row_shape`.
        :raises RuntimeError: if reading fails; it names the source and the rows.
        """
        index = np.asarray(index)
        with self._lock:
            started = self._ahead.pop(index.tobytes(), None)
        if after is not None:
            self._begin(np.asarray(after))
        return self._read(index) if started is None else started.result()

    def _begin(self, index: np.ndarray) -> None:
        """Begin to read rows in the background."""
        with self._lock:
            if self._foreman is None:
                self._foreman = ThreadPoolExecutor(1, "numpyro_pl-ahead")
            # What nobody came for (a run that ended) makes room for the new.
            while len(self._ahead) >= MOST_AHEAD:
                self._ahead.pop(next(iter(self._ahead)))
            if index.tobytes() not in self._ahead:
                future = self._foreman.submit(self._read, index)
                self._ahead[index.tobytes()] = future

    def _read(self, index: np.ndarray) -> np.ndarray:
        flat = index.reshape(-1)
        try:
            self._check_file()
            found = self._found(flat)
            if found.shape != (len(flat), *self.row_shape):
                raise ValueError(
                    f"rows of shape {found.shape[1:]} came, not {self.row_shape}"
                )
        except Exception as error:
            rows = np.unique(flat)
            raise RuntimeError(
                f"reading rows {rows[0]} to {rows[-1]} ({len(rows)} of them) of "
                f"{self.label} failed: {error}. The draws before are not affected; a "
                "run to a store goes on from its last chunk when the source is whole "
                "again."
            ) from error
        return found.reshape(*index.shape, *self.row_shape)

    def _found(self, index: np.ndarray) -> np.ndarray:
        """The rows of an array of one axis. In the order of the file, each once."""
        if self._in_memory:
            return np.asarray(self._take(index), self.dtype)
        if self._rows is None:
            rows, places = np.unique(index, return_inverse=True)
            taken = self._shared(self._take, rows)
            parts = [np.asarray(part, self.dtype) for part in taken]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return whole[places]
        # No copies: those of new memory take as long as the reading.
        found = self._rows.empty(len(index))
        read = partial(self._rows.read, index, found)
        self._shared(read, np.argsort(index, kind="stable"))
        return np.asarray(found, self.dtype)

    def _shared(self, fn: Callable, items: np.ndarray) -> list:
        """What a function of some items returns, each thread its share of them."""
        if self._threads == 1 or len(items) < 2 * self._threads:
            return [fn(items)]
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(self._threads, "numpyro_pl-read")
        return list(self._workers.map(fn, np.array_split(items, self._threads)))

    def _check_file(self) -> None:
        """Reading beyond the end of a mapped file would end the process."""
        if self._file is None:
            return
        size = os.path.getsize(self._file)
        if size < self._bytes:
            raise OSError(f"the file has shrunk from {self._bytes} to {size} bytes")


def _opened(source: Any) -> tuple[Callable, int, tuple[int, ...], np.dtype]:
    """How to take rows of a source, their number, shape and type."""
    is_array = hasattr(source, "shape") and hasattr(source, "dtype")
    if not hasattr(source, "__getitem__") or not (
        is_array or hasattr(source, "__len__")
    ):
        raise TypeError(
            "streamed() takes a source with len(source) and source[i], such as "
            f"np.load(path, mmap_mode='r'), got {type(source).__name__}."
        )
    num = source.shape[0] if is_array else len(source)
    if num == 0:
        raise ValueError("streamed() got a source without rows.")
    if is_array:
        take = getattr(source, "oindex", source).__getitem__
        shape, dtype = tuple(source.shape[1:]), np.dtype(source.dtype)
    else:
        first = np.asarray(source[0])
        shape, dtype = first.shape, first.dtype

        def take(rows):
            many = getattr(source, "__getitems__", None)
            numbers = [int(row) for row in rows]
            return np.stack(many(numbers) if many else [source[i] for i in numbers])

    if dtype.kind not in "biuf":
        raise ValueError(
            f"streamed() takes rows of numbers, got {dtype}. Take one field of a "
            "record, and give each field a stream of its own."
        )
    return take, num, shape, dtype
