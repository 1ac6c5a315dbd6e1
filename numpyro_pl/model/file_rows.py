# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Rows of a large mapped file by plain reads.

What is read through a mapping counts as memory of the process until the system wants
it back, and every row brings its neighbours: 200,000 random rows of 3 kB were 5 GB.
What is read from the file is only the rows.
"""

import mmap
import os
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FileRows", "rows_of_file"]

SMALL = 2**30
"""Bytes up to which rows are read through the mapping, which is faster."""


class FileRows(NamedTuple):
    """
    Rows that are one after the other in a file.

    - **path** - the file.
    - **first** - the byte at which the first row begins.
    - **shape** - of all rows.
    - **dtype** - of their entries.
    """

    path: str
    first: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def empty(self, num: int) -> np.ndarray:
        """Room for rows."""
        return np.empty((num, *self.shape[1:]), self.dtype)

    def read(self, index: np.ndarray, found: np.ndarray, places: np.ndarray) -> None:
        """
        Read some rows.

        :param index: array of row numbers, of one axis.
        :param found: where the rows go; that of each is its place in `index`.
        :param places: the places to fill, in the order in which to read.
        :raises IndexError: if there is no such row.
        :raises OSError: if the file ends before it.
        """
        num, rows = self.shape[0], index[places].astype(np.int64)
        rows = np.where(rows < 0, rows + num, rows)
        if np.any((rows < 0) | (rows >= num)):
            raise IndexError(f"there are {num} rows")
        size = found[:1].nbytes
        into = memoryview(found.reshape(-1).view(np.uint8))
        # Neighbours that stay neighbours are read at once.
        alone = (np.diff(rows, prepend=-2) != 1) | (np.diff(places, prepend=-2) != 1)
        starts = np.flatnonzero(alone).tolist()
        begins = (self.first + rows[starts] * size).tolist()
        ends = (places[starts] * size).tolist()
        file = os.open(self.path, os.O_RDONLY)
        try:
            for (start, stop), begin, end in zip(
                pairwise([*starts, len(rows)]), begins, ends, strict=True
            ):
                part = into[end : end + (stop - start) * size]
                if os.preadv(file, [part], begin) != len(part):
                    _fill(file, part, begin)
        finally:
            os.close(file)


def rows_of_file(source: Any) -> FileRows | None:
    """
    The rows of a mapped file.

    :param source: what the rows are taken from.
    :return: None for what is no large file, or one whose rows are not one after the
        other.
    """
    if not isinstance(source, np.memmap) or source.nbytes <= SMALL:
        return None
    # Changes to a mapping of mode "c" are not in the file. Not every system has preadv.
    plain = source.mode != "c" and source.flags.c_contiguous and hasattr(os, "preadv")
    mapping: Any = source
    while isinstance(mapping, np.ndarray):
        mapping = mapping.base
    if not plain or not source.filename or not isinstance(mapping, mmap.mmap):
        return None
    first = _place_in_file(source, mapping)
    return FileRows(str(source.filename), first, source.shape, source.dtype)


def _place_in_file(source: np.memmap, mapping: mmap.mmap) -> int:
    """Where in the file an array begins, which may be a part of what is mapped."""
    start = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    begin = source.__array_interface__["data"][0] - start
    # `offset` is that of the whole array, which the mapping rounds down.
    return source.offset - source.offset % mmap.ALLOCATIONGRANULARITY + begin


def _fill(file: int, part: memoryview, begin: int) -> None:
    """
    Read what one call of the system did not give.

    :raises OSError: if the file ends before that.
    """
    while part:
        size = os.preadv(file, [part], begin)
        if size == 0:
            raise OSError(f"the file ends at byte {begin}")
        part, begin = part[size:], begin + size
