# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A fingerprint of an array that does not depend on how its rows are split over devices
and processes: a sum over rows.
"""

from typing import Any

import jax
import numpy as np

__all__ = ["fingerprint"]

BLOCK = 2**22
"""Bytes that are looked at at a time."""


def fingerprint(value: Any) -> str:
    """
    16 hexadecimal digits that tell an array from others of its shape and type, unless
    somebody has looked for one with the same digits. Each process reads its own rows;
    all processes must call this together for an array that is split over them.

    :param value: an array of NumPy or JAX.
    """
    if not isinstance(value, jax.Array) or value.is_fully_addressable:
        return f"{_sum_over_rows(np.asarray(value), 0):016x}"
    total = 0
    for shard in value.addressable_shards:
        if shard.replica_id == 0:
            if any(s != slice(None) for s in shard.index[1:]):
                raise ValueError("arrays may be split over processes by rows only.")
            start = shard.index[0].start if shard.index else 0
            total += _sum_over_rows(np.asarray(shard.data), start or 0)
    return f"{_sum_over_processes(total % 2**64):016x}"


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): any change spreads."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _sum_over_rows(x: np.ndarray, start: int) -> int:
    """
    Sum modulo 2^64 of a number for each row.

    :param x: the rows.
    :param int start: number of the first one.
    """
    x = np.atleast_1d(x)
    width = x[:1].nbytes
    if not width:
        return 0
    words = -(-width // 8)
    factors = _mixed(np.arange(1, words + 1, dtype=np.uint64)) | np.uint64(1)
    num, total = max(1, BLOCK // width), 0
    for first in range(0, len(x), num):
        rows = np.ascontiguousarray(x[first : first + num])
        data = np.zeros((len(rows), 8 * words), np.uint8)
        data[:, :width] = rows.reshape(-1).view(np.uint8).reshape(len(rows), width)
        number = np.arange(len(rows), dtype=np.uint64) + np.uint64(start + first + 1)
        found = (_mixed(data.view("<u8").astype(np.uint64)) * factors).sum(1)
        total += int(_mixed(found + _mixed(number)).sum())
    return total % 2**64


def _sum_over_processes(total: int) -> int:
    from jax.experimental.multihost_utils import process_allgather

    parts = np.array([total >> shift & 0xFFFF for shift in (0, 16, 32, 48)], np.int32)
    found = np.asarray(process_allgather(parts)).reshape(-1, 4)
    sums = found.astype(object).sum(0)
    return (
        sum(int(n) << shift for n, shift in zip(sums, (0, 16, 32, 48), strict=True))
        % 2**64
    )
