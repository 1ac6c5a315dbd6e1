# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Data on disk as an argument of a model."""

from typing import Any

from numpyro_pl.model.row_reader import RowReader
from numpyro_pl.model.streams import Streamed

__all__ = ["streamed"]


def streamed(source: Any, *, threads: int = 2) -> Streamed:
    """
    Wrap data that is larger than the memory of the device, or of the machine, as an
    argument of a model::

        x = streamed(np.load("x.npy", mmap_mode="r"))
        mcmc.run(random.key(0), x, y)

    The model takes rows of it as it would of an array: `x[ind]` under a plate, or
    `numpyro.subsample(x, event_dim=1)`. Each row is read when a minibatch needs it, by
    threads that work ahead of the chain. Draws are those of the same data in memory,
    bit for bit.

    :param source: a NumPy memmap or array, a Zarr array or HDF5 dataset, or any source
        with `len(source)` and `source[i]`, an array or number (a `grain` data source;
        `source.__getitems__(rows)` is used if there). The first axis is the rows.
    :param int threads: threads that read one minibatch, where reading a row is slow
        (compressed files, decoding of images).
    :return: what to pass to the model.
    :raises TypeError: for a source without rows.
    :raises ValueError: for an empty source, one of objects, or threads below 1.
    """
    return Streamed(RowReader(source, threads))
