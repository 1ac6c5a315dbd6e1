# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Columns of the data that no sampler with one scale for each coordinate can handle."""

import warnings

import numpy as np

from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import Data
from numpyro_pl.model.sharding import local_values
from numpyro_pl.model.sites import float_arguments

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
    for kind, label, value in float_arguments(*data):
        real = np.issubdtype(value.dtype, np.floating)
        if not real or np.ndim(value) != 2 or value.shape[0] not in sizes:
            continue
        rows = local_values(value)[:MOST_ROWS].astype(np.float64)
        # Values that are not finite have an error of their own.
        rows = rows[np.isfinite(rows).all(1)]
        sd = rows.std(0) if len(rows) else np.zeros(0)
        sd = sd[sd > 0]
        if sd.size > 1 and sd.max() > MOST_UNEQUAL * sd.min():
            name = label if kind == "positional" else repr(label)
            warnings.warn(
                f"the columns of argument {name} have standard deviations from "
                f"{sd.min():.2g} to {sd.max():.2g}. Standardize them, (x - mean) / sd: "
                "chains move too slowly otherwise.",
                UserWarning,
                stacklevel=2,
            )
