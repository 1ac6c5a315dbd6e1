# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Rows of a large mapped file by plain reads.

What is read through a mapping counts as memory of the process until the system wants it
back, and every row brings its neighbours with it: 200,000 random rows of 3 kB were 5 GB.
What is read from the file is only the rows.
"""

import mmap
import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["rows_of_file"]

SMALL = 2**28
"""Bytes up to which rows are read through the mapping, which is faster."""


def rows_of_file(source: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """
    How to take rows of a mapped file without its mapping.

    :param source: what the rows are taken from.
    :return: function from row numbers to rows; None for what is no large file, or one
        whose rows are not one after the other.
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
    path, first = source.filename, _place_in_file(source, mapping)
    num, dtype, row_shape = len(source), source.dtype, source.shape[1:]
    row_bytes = source.nbytes // num

    def take(rows):
        rows = np.where(rows < 0, rows + num, rows)
        if np.any((rows < 0) | (rows >= num)):
            raise IndexError(f"there are {num} rows")
        found = np.empty((len(rows), *row_shape), dtype)
        places = (first + rows.astype(np.int64) * row_bytes).tolist()
        # Neighbours are read at once.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()
        file = os.open(path, os.O_RDONLY)
        try:
            for start, stop in pairwise([*starts, len(rows)]):
                _fill(file, found[start:stop], places[start])
        finally:
            os.close(file)
        return found

    return take


def _place_in_file(source: np.memmap, mapping: mmap.mmap) -> int:
    """Where in the file an array begins, which may be a part of what is mapped."""
    start = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    begin = source.__array_interface__["data"][0] - start
    # `offset` is that of the whole array, which the mapping rounds down.
    return source.offset - source.offset % mmap.ALLOCATIONGRANULARITY + begin


def _fill(file: int, rows: np.ndarray, place: int) -> None:
    """
    Read rows that are one after the other.

    :raises OSError: if the file ends before that.
    """
    size = os.preadv(file, [rows], place)
    if size == rows.nbytes:
        return
    rest = memoryview(rows.reshape(-1).view(np.uint8))[size:]
    place += size
    while rest:
        size = os.preadv(file, [rest], place)
        if size == 0:
            raise OSError(f"the file ends at byte {place}")
        rest, place = rest[size:], place + size
