# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Stores opened for reading."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpyro_pl.store.files import check_zarr
from numpyro_pl.store.lock import PRIVATE

__all__ = ["is_store", "open_store", "stored_tree"]


def is_store(path: Any) -> bool:
    """Whether there is a store of `sample_to_store` at a path."""
    return isinstance(path, str | os.PathLike) and (Path(path) / PRIVATE).is_dir()


def stored_tree(path: str | os.PathLike) -> Any:
    """
    The groups of a store, read when they are used.

    :raises ValueError: if there is no store, or no finished draws in it.
    """
    check_zarr()
    if not is_store(path):
        raise ValueError(f"there is no store of sample_to_store at '{path}'.")
    if not (Path(path) / ".zmetadata").exists():
        raise ValueError(
            f"the store '{path}' has no finished draws yet: call sample_to_store again."
        )
    import xarray as xr

    return xr.open_datatree(str(path), engine="zarr", chunks=None)


def open_store(path: str | os.PathLike) -> Any:
    """
    The finished draws of a store as ArviZ's functions take them; arrays are read when
    they are used. The run may still go on.

    :param path: a store of :func:`sample_to_store`.
    :return: an `arviz.InferenceData` (ArviZ 0.2x) or an `xarray.DataTree` (ArviZ 1.x).
    :raises ValueError: if there is no store, or no finished draws in it.
    :raises ImportError: without Zarr.
    """
    tree = stored_tree(path)
    if int(version("arviz").split(".")[0]) > 0:
        return tree
    # Not at the top: importing the package would import ArviZ, which takes long.
    import arviz as az

    return az.InferenceData.from_datatree(tree)
