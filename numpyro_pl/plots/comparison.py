# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of a comparison with a reference, scalar by scalar."""

from typing import Any

import numpy as np

from numpyro_pl.plots.axes import COLORS, TARGET_LINE, given_axes, new_panels

__all__ = ["plot_differences"]

MOST_ROWS = 40
"""Rows that are shown: more cannot be read."""


def plot_differences(comparison: Any, ax: Any = None) -> np.ndarray:
    """
    Forest of the differences from a reference: of the means, in standard deviations of
    the reference, and the ratio of the standard deviations, with bars of two Monte
    Carlo standard errors of both posteriors. Equal posteriors lie on the dashed lines.

    Of more than 40 scalars those with the largest difference of the means are shown.

    :param comparison: a table from :func:`~numpyro_pl.diagnostics.compare`, or rows of
        it.
    :param ax: two sets of axes; new ones by default.
    :return: array of axes of shape (2,).
    :raises ValueError: for another table, one without finite rows, or another number of
        axes.
    :raises ImportError: if Matplotlib is missing.
    """
    needed = ("mean_diff_sd", "z_mean", "sd_ratio", "z_sd")
    missing = [
        name for name in needed if name not in getattr(comparison, "columns", ())
    ]
    if missing:
        raise ValueError(
            f"the comparison lacks the columns {missing}: pass what compare(posterior, "
            "reference) returns."
        )
    table = comparison.dropna(subset=list(needed))
    table = table[np.isfinite(table[list(needed)]).all(axis=1)]
    if table.empty:
        raise ValueError(
            "no row of the comparison is finite: there is nothing to plot."
        )
    left_out = len(table) - MOST_ROWS
    if left_out > 0:
        largest = table.mean_diff_sd.abs().nlargest(MOST_ROWS).index
        table = table.loc[[name for name in table.index if name in set(largest)]]
    axes = _axes(ax, len(table))
    at = np.arange(len(table))[::-1]
    _forest(axes[0], table.mean_diff_sd, table.mean_diff_sd, table.z_mean, at)
    _forest(axes[1], table.sd_ratio, table.sd_ratio - 1, table.z_sd, at)
    axes[0].axvline(0.0, **TARGET_LINE)
    axes[1].axvline(1.0, **TARGET_LINE)
    axes[0].set_yticks(at, [str(name) for name in table.index])
    axes[1].set_yticks(at, [])
    axes[0].set_xlabel("difference of the means (sd)")
    axes[1].set_xlabel("ratio of the sd")
    if left_out > 0:
        axes[0].set_title(f"largest {len(table)} of {len(table) + left_out}")
    return axes


def _axes(ax: Any, num_rows: int) -> np.ndarray:
    """The axes given, or new ones side by side."""
    if ax is None:
        height = 1.1 + 0.24 * num_rows
        return new_panels(1, 2, (7.0, height))
    return given_axes(ax, 2, "quantities")


def _forest(ax: Any, value: Any, difference: Any, z: Any, at: np.ndarray) -> None:
    """Points with bars of two standard errors, from z values."""
    z, difference = z.to_numpy(), difference.to_numpy()
    known = z != 0
    error = np.zeros(len(z))
    error[known] = 2 * np.abs(difference[known] / z[known])
    ax.errorbar(
        value.to_numpy(),
        at,
        xerr=error,
        fmt="o",
        markersize=4,
        elinewidth=1.2,
        capsize=2,
        color=COLORS[0],
    )
    ax.set_ylim(-0.7, len(z) - 0.3)
