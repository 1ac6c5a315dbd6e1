# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of predictions of real numbers: bands, and whether intervals cover."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.regression_scores import crps, interval_coverage
from numpyro_pl.plots.axes import (
    COLORS,
    MARKERS,
    SQUARE,
    check_by_name,
    legend_above,
    new_axes,
    unit_square,
)
from numpyro_pl.trees.checks import check_unit_interval

__all__ = ["plot_coverage", "plot_predictive_bands"]

PROBS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def plot_predictive_bands(
    x: Any,
    y_draws: Any,
    observed: tuple[Any, Any] | None = None,
    probs: Sequence[float] = (0.5, 0.9),
    label: str = "",
    ax: Any = None,
) -> Any:
    """
    Median and central bands of predictive draws along one input, with the data.

    :param x: inputs of the predictions, of shape (points,), in any order.
    :param y_draws: predictive draws of shape (..., points); leading axes are draws.
        Include the noise of an observation for bands that should hold the data.
    :param observed: inputs and values of the data, each of shape (data,).
    :param probs: probabilities of the bands, in (0, 1).
    :param str label: name of the model in the legend.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: if shapes differ, a draw is not finite, or a probability is out
        of range.
    :raises ImportError: if Matplotlib is missing.
    """
    at, draws = np.asarray(x, float), np.asarray(y_draws, float)
    if at.ndim != 1 or draws.ndim < 2 or draws.shape[-1] != at.size or not at.size:
        raise ValueError(
            f"x has shape {at.shape} and y_draws {draws.shape}; they must be (points,) "
            "and (..., points), with at least one axis of draws."
        )
    if not np.isfinite(draws).all():
        raise ValueError("y_draws has values that are not finite: drop these draws.")
    levels = sorted(check_unit_interval("each of probs", p) for p in probs)[::-1]
    order = np.argsort(at)
    at, flat = at[order], draws.reshape(-1, at.size)[:, order]
    ax = new_axes(ax, (7.0, 4.0))
    before, of = (f"{label}, ", "") if label else ("", " of the predictions")
    number = len(ax.lines)
    color = COLORS[number % len(COLORS)]
    for i, prob in enumerate(levels):
        low, high = np.quantile(flat, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        # Darker towards the middle, so that bands are told apart in grey, too.
        share = 0.16 + 0.22 * i / max(len(levels) - 1, 1)
        text = f"{before}{100 * prob:g} %{of}"
        ax.fill_between(
            at, low, high, color=color, alpha=share, linewidth=0, label=text
        )
    median = np.median(flat, axis=0)
    ax.plot(at, median, color=color, linewidth=1.6, label=f"{before}median")
    if observed is not None:
        x_data, y_data = (np.asarray(v, float).ravel() for v in observed)
        ax.plot(x_data, y_data, ".", color="0.15", markersize=4, zorder=5, label="data")
    ax.set_xlabel("input")
    ax.set_ylabel("prediction")
    ax.margins(x=0.01)
    legend_above(ax)
    return ax


def plot_coverage(
    y_true: Any,
    y_draws_by_name: Mapping[str, Any],
    probs: Sequence[float] = PROBS,
    ax: Any = None,
) -> Any:
    """
    Share of the values observed in the central predictive intervals against their
    probability, with two standard errors, and the CRPS in the legend. A model whose
    intervals are right lies on the diagonal, one that is too certain below it.

    :param y_true: values observed, of shape (points,).
    :param y_draws_by_name: posterior predictive draws of shape (..., points) by name of
        the model; leading axes are draws.
    :param probs: probabilities of the intervals, in (0, 1).
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises TypeError: if `y_draws_by_name` is not a mapping.
    :raises ValueError: if it is empty, shapes differ, or there are too few draws.
    :raises ImportError: if Matplotlib is missing.
    """
    check_by_name("y_draws_by_name", y_draws_by_name, "draws", "model")
    scores = {
        name: [interval_coverage(y_true, draws, prob) for prob in probs]
        for name, draws in y_draws_by_name.items()
    }
    ax = new_axes(ax, SQUARE)
    for i, (name, several) in enumerate(scores.items()):
        label = f"{name} (CRPS {crps(y_true, y_draws_by_name[name]).mean:.3g})"
        # The errors of a right model: those of its own coverage vanish at 0 and 1.
        p = np.asarray(probs, float)
        error = 2 * np.sqrt(p * (1 - p) / len(several[0].by_point))
        ax.errorbar(
            p,
            np.array([score.mean for score in several]),
            yerr=error,
            color=COLORS[i % len(COLORS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            label=label,
        )
    unit_square(ax)
    ax.set_xlabel("probability of the interval")
    ax.set_ylabel("share of the observations in it")
    legend_above(ax)
    return ax
