# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Columns of the data that no sampler with one scale for each coordinate can handle."""

import warnings
from typing import Any

import jax
import numpy as np

from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import is_array, is_traced

__all__ = ["warn_of_unscaled_columns"]

MOST_UNEQUAL = 1000.0
"""Ratio of the standard deviations of two columns from which to warn."""

MOST_ROWS = 10_000
"""Rows that are looked at."""


def warn_of_unscaled_columns(data: Data, plates: PlateSizes) -> None:
    """
    Warn of features whose units differ so much that chains will hardly move. Their
    means differ as much, which makes coefficients so correlated that masses cannot make
    up for it.

    :param Data data: the model's arguments.
    :param PlateSizes plates: its subsampled plates, whose sizes tell what rows are.
    """
    sizes = {p.size for p in plates.values()}
    for path, value in jax.tree_util.tree_leaves_with_path(data):
        if not _is_table(value, sizes):
            continue
        rows = np.asarray(value[:MOST_ROWS], np.float64)
        # Values that are not finite have an error of their own.
        rows = rows[np.isfinite(rows).all(1)]
        sd = rows.std(0) if len(rows) else np.zeros(0)
        sd = sd[sd > 0]
        if sd.size > 1 and sd.max() > MOST_UNEQUAL * sd.min():
            warnings.warn(
                f"the columns of argument {_name(path)} have standard deviations from "
                f"{sd.min():.2g} to {sd.max():.2g}. Standardize them, (x - mean) / sd: "
                "chains move too slowly otherwise.",
                UserWarning,
                stacklevel=2,
            )


def _is_table(value: Any, sizes: set[int]) -> bool:
    if not is_array(value) or is_traced(value):
        return False
    floating = np.issubdtype(value.dtype, np.floating)
    return floating and np.ndim(value) == 2 and value.shape[0] in sizes


def _name(path: tuple) -> str:
    """Number of a positional argument, name of a keyword one."""
    return repr(getattr(path[1], "key", getattr(path[1], "idx", None)))
