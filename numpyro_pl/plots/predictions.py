# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of predictive class probabilities: against a reference and against labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.scores import (
    agreement,
    calibration_curve,
    expected_calibration_error,
    mean_probabilities,
    total_variation,
)
from numpyro_pl.plots.axes import (
    SQUARE,
    check_by_name,
    legend_above,
    new_axes,
    unit_square,
)

__all__ = ["plot_calibration", "plot_predictive_comparison"]


def plot_predictive_comparison(
    y_prob: Any,
    y_prob_ref: Any,
    labels: tuple[str, str] = ("posterior", "reference"),
    ax: Any = None,
) -> Any:
    """
    Predictive probabilities of all classes at all test points against those of a
    reference, with total variation and agreement in the title. Equal probabilities lie
    on the diagonal.

    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :param y_prob_ref: class probabilities of the reference at the same points, with
        any number of draws.
    :param labels: names of the posterior and of the reference.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: if points or classes differ, or values are not probabilities.
    :raises ImportError: if Matplotlib is missing.
    """
    p = mean_probabilities(y_prob, "y_prob")
    q = mean_probabilities(y_prob_ref, "y_prob_ref")
    distance, same = total_variation(p, q), agreement(p, q)
    ax = new_axes(ax, SQUARE)
    # Thousands of points would make a vector graphic slow to open.
    ax.scatter(
        q.ravel(), p.ravel(), s=9, alpha=0.35, linewidths=0, zorder=3, rasterized=True
    )
    unit_square(ax)
    ax.set_xlabel(f"{labels[1]}: predictive probability")
    ax.set_ylabel(f"{labels[0]}: predictive probability")
    ax.set_title(f"total variation {distance:.3f}, agreement {100 * same:.1f} %")
    return ax


def plot_calibration(
    y_true: Any,
    y_prob_by_name: Mapping[str, Any],
    num_bins: int = 15,
    ax: Any = None,
) -> Any:
    """
    Reliability diagram: accuracy against confidence of one or more classifiers, with
    their expected calibration errors in the legend.

    A calibrated classifier lies on the diagonal. Error bars are two binomial standard
    errors of the accuracy in a bin if the classifier were calibrated.

    :param y_true: labels, whole numbers from 0 to classes - 1, of shape (points,).
    :param y_prob_by_name: class probabilities of shape (..., points, classes) by name
        of the classifier; leading axes are draws and are averaged.
    :param int num_bins: number of bins of equal width.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises TypeError: if `y_prob_by_name` is not a mapping.
    :raises ValueError: if shapes differ, or values are not probabilities or labels.
    :raises ImportError: if Matplotlib is missing.
    """
    swapped = " Are the two arguments swapped?" if isinstance(y_true, Mapping) else ""
    order = f"{swapped} The order is plot_calibration(y_true, y_prob_by_name)."
    check_by_name(
        "y_prob_by_name", y_prob_by_name, "probabilities", "classifier", order
    )
    averaged = {
        name: mean_probabilities(y_prob, f"y_prob_by_name['{name}']")
        for name, y_prob in y_prob_by_name.items()
    }
    curves = {
        name: calibration_curve(y_true, y_prob, num_bins)
        for name, y_prob in averaged.items()
    }
    ax = new_axes(ax, SQUARE)
    for name, curve in curves.items():
        error = expected_calibration_error(y_true, averaged[name], num_bins)
        some = curve.counts > 0
        confidence, count = curve.confidence[some], curve.counts[some]
        ax.errorbar(
            confidence,
            curve.accuracy[some],
            yerr=2 * np.sqrt(confidence * (1 - confidence) / count),
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            label=f"{name} (ECE {error:.3f})",
        )
    unit_square(ax)
    ax.set_xlabel("confidence")
    ax.set_ylabel("accuracy")
    legend_above(ax)
    return ax
