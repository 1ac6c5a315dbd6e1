# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Axes, legends and line styles shared by the plots. Matplotlib is imported late."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = [
    "COLORS",
    "MARKERS",
    "SQUARE",
    "TARGET_LINE",
    "check_by_name",
    "given_axes",
    "legend_above",
    "new_axes",
    "new_panels",
    "unit_square",
]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, which suits all color vision."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Markers that tell things apart in grey, as many as there are colors."""

SQUARE = (4.8, 4.8)
"""Size of a new square figure, in inches."""

TARGET_LINE = MappingProxyType(
    {"color": "0.15", "linestyle": "--", "linewidth": 1.2, "zorder": 4}
)
"""Line style of the value that the sampler should reach."""


def _pyplot() -> Any:
    """
    The module `matplotlib.pyplot`.

    :raises ImportError: if Matplotlib is missing, with the command that installs it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as e:
        raise ImportError(
            "numpyro_pl.plots needs matplotlib: pip install 'numpyro-pl[plots]'."
        ) from e
    return plt


def new_axes(ax: Any = None, figsize: tuple[float, float] = (7.0, 3.2)) -> Any:
    """
    The axes given, or new ones.

    :param ax: axes, or None.
    :param figsize: width and height of a new figure, in inches.
    :raises ImportError: if Matplotlib is missing and `ax` is None.
    """
    if ax is not None:
        return ax
    return new_panels(1, 1, figsize)[0]


def new_panels(rows: int, columns: int, figsize: tuple[float, float]) -> np.ndarray:
    """
    New axes in a grid, of shape (rows * columns,), with colors that suit all readers.

    :param figsize: width and height of the new figure, in inches.
    :raises ImportError: if Matplotlib is missing.
    """
    size = {"figsize": figsize, "layout": "constrained"}
    _, axes = _pyplot().subplots(rows, columns, squeeze=False, **size)
    for ax in axes.ravel():
        ax.set_prop_cycle(color=COLORS)
    return axes.ravel()


def given_axes(ax: Any, num: int, what: str) -> np.ndarray:
    """
    Axes that the user gave for several panels, of shape (num,).

    :param ax: axes, one set per panel.
    :param int num: number of panels.
    :param str what: what each panel shows, in the plural.
    :raises ValueError: for another number of axes.
    """
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if axes.size != num:
        raise ValueError(f"{num} {what} need as many axes, but ax has {axes.size}.")
    return axes


def check_by_name(
    argument: str, value: Any, holding: str, one: str, hint: str = ""
) -> None:
    """
    Check an argument that has an entry for each of several things to plot.

    :param str argument: its name.
    :param value: the argument.
    :param str holding: what it holds by name.
    :param str one: what an entry stands for.
    :param str hint: what else to say if it is no mapping.
    :raises TypeError: if it is not a mapping.
    :raises ValueError: if it is empty.
    """
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{argument} must be a dict {{name: {holding}}}, not a "
            f"{type(value).__name__}.{hint}"
        )
    if not value:
        raise ValueError(f"{argument} is empty: give at least one {one} to plot.")


def legend_above(ax: Any) -> None:
    """
    Add a legend above the axes, at the right: traces and error bars fill the axes, so a
    legend inside would cover some of them.

    :param ax: axes, with something to list in the legend.
    """
    labels = ax.get_legend_handles_labels()[1]
    # About 0.08 inches per character, and 0.6 for the line and the space around it. A
    # legend wider than the axes would be cut off by the edge of the figure.
    entry = 0.6 + 0.08 * max(map(len, labels))
    width = ax.get_window_extent().width / ax.figure.dpi
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=int(min(len(labels), max(1, width // entry))),
        frameon=False,
        borderaxespad=0.1,
    )


def unit_square(ax: Any) -> None:
    """
    Equal axes from 0 to 1, with the dashed diagonal.

    :param ax: axes.
    """
    ax.plot([0, 1], [0, 1], **TARGET_LINE)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
