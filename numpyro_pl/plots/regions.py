# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plot of what a classifier predicts over two inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.scores import mean_probabilities
from numpyro_pl.plots.axes import COLORS, MARKERS, SQUARE, legend_above, new_axes
from numpyro_pl.trees.checks import check_unit_interval

__all__ = ["plot_decision_regions"]

MOST_CLASSES = len(COLORS)

STRONGEST = 0.75
"""Share of a class's color where its probability is 1: data must stand out."""


def plot_decision_regions(
    x: Any,
    y: Any,
    y_prob: Any,
    observed: tuple[Any, Any] | None = None,
    labels: Sequence[str] | None = None,
    certain: float = 0.9,
    ax: Any = None,
) -> Any:
    """
    The most probable class over two inputs, paler where it is less certain, with the
    data. Solid lines are the borders of the classes, dashed ones where the most
    probable class has the probability `certain`.

    :param x: values of the first input, rising, of shape (columns,).
    :param y: values of the second input, rising, of shape (rows,).
    :param y_prob: class probabilities at all pairs of them, of shape (..., rows *
        columns, classes), in the order of `np.meshgrid(x, y)`; leading axes are draws
        and are averaged. At most six classes.
    :param observed: inputs of shape (data, 2) and classes of shape (data,), whole
        numbers from 0.
    :param labels: names of the classes; default "class 0", "class 1", ...
    :param float certain: a probability in (0, 1).
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: if shapes do not fit, values are not probabilities or classes,
        or there are too many classes.
    :raises ImportError: if Matplotlib is missing.
    """
    sides = [np.asarray(side, float) for side in (x, y)]
    p = mean_probabilities(y_prob, "y_prob")
    names = _names(labels, p.shape[-1])
    p = _on_grid(p, *sides)
    check_unit_interval("certain", certain)
    ax = new_axes(ax, SQUARE)
    left, bottom = (side[0] for side in sides)
    right, top = (side[-1] for side in sides)
    ax.imshow(
        _colors(p),
        extent=(left, right, bottom, top),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )
    for lead in _leads(p):
        if lead.min() < 0 < lead.max():
            ax.contour(*sides, lead, [0.0], colors="0.1", linewidths=1.2)
    best = p.max(-1)
    if best.min() < certain < best.max():
        ax.contour(
            *sides, best, [certain], colors="0.3", linewidths=0.8, linestyles="--"
        )
    _add_data(ax, observed, names)
    ax.set_xlabel("first input")
    ax.set_ylabel("second input")
    legend_above(ax)
    return ax


def _names(labels: Sequence[str] | None, num: int) -> list[str]:
    """Names of the classes."""
    if num > MOST_CLASSES:
        raise ValueError(
            f"y_prob has {num} classes; colors can be told apart for {MOST_CLASSES}. "
            "Add up the probabilities of some classes."
        )
    names = [f"class {k}" for k in range(num)] if labels is None else list(labels)
    if len(names) != num:
        raise ValueError(f"labels has {len(names)} names, but y_prob {num} classes.")
    return names


def _on_grid(p: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Probabilities of shape (rows, columns, classes)."""
    for name, side in (("x", x), ("y", y)):
        if side.ndim != 1 or side.size < 2 or not (np.diff(side) > 0).all():
            raise ValueError(f"{name} must be at least two rising values, of one axis.")
    if len(p) != x.size * y.size:
        raise ValueError(
            f"y_prob has {len(p)} points; {x.size} values of x and {y.size} of y make "
            f"{x.size * y.size}. Predict at np.stack(np.meshgrid(x, y), -1).reshape"
            "(-1, 2)."
        )
    return p.reshape(y.size, x.size, -1)


def _colors(p: np.ndarray) -> np.ndarray:
    """Colors of shape (rows, columns, 3): those of the most probable class on white."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(color) for color in COLORS])
    num = p.shape[-1]
    # Nothing of it where all classes are as probable.
    share = STRONGEST * (p.max(-1, keepdims=True) - 1 / num) / max(1 - 1 / num, 1e-9)
    return 1 - share * (1 - palette[p.argmax(-1)])


def _leads(p: np.ndarray) -> list[np.ndarray]:
    """How far each class is ahead of all others; once for two of them."""
    leads = []
    for k in range(p.shape[-1] - (p.shape[-1] <= 2)):
        others = np.delete(p, k, -1)
        leads.append(p[..., k] - others.max(-1))
    return leads


def _add_data(ax: Any, observed: tuple[Any, Any] | None, names: Sequence[str]) -> None:
    """Data by class, or only the entries of the legend."""
    at, classes = np.zeros((0, 2)), np.zeros(0, int)
    if observed is not None:
        at, classes = np.asarray(observed[0], float), np.asarray(observed[1])
    if at.ndim != 2 or at.shape[1] != 2 or classes.shape != at.shape[:1]:
        raise ValueError(
            f"observed has inputs of shape {at.shape} and classes of shape "
            f"{classes.shape}; they must be (data, 2) and (data,)."
        )
    if not np.isin(classes, np.arange(len(names))).all():
        raise ValueError(
            f"classes of observed must be whole numbers from 0 to {len(names) - 1}."
        )
    # Hundreds of large ones would hide the regions.
    size = min(14.0, 2500 / max(len(classes), 1))
    for k, name in enumerate(names):
        ax.scatter(
            *at[classes == k].T,
            s=size,
            color=COLORS[k],
            edgecolors="0.1",
            linewidths=0.4,
            marker=MARKERS[k],
            zorder=5,
            label=name,
        )
