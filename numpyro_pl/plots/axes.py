# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Axes to draw on. Matplotlib is imported when the first picture is drawn."""

from typing import Any

__all__ = ["new_axes", "pyplot"]


def pyplot() -> Any:
    """
    The module `matplotlib.pyplot`.

    :raises ImportError: where matplotlib is not installed, with the command for it.
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
    """
    if ax is not None:
        return ax
    return pyplot().subplots(figsize=figsize, layout="constrained")[1]
