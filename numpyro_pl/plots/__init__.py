# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Pictures of chains and of their predictions. Needs matplotlib, which is imported when
the first picture is drawn. Every function draws on the axes given, or on new ones, and
returns them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpyro_pl._scores import mean_probabilities
from numpyro_pl.diagnostics import (
    agreement,
    calibration_curve,
    expected_calibration_error,
    total_variation,
)
from numpyro_pl.plots.axes import new_axes, pyplot

__all__ = [
    "plot_calibration",
    "plot_predictive_comparison",
    "plot_temperature",
    "plot_traces",
]

TARGET_LINE = {"color": "0.15", "linestyle": "--", "linewidth": 1.2, "zorder": 4}


def plot_traces(
    draws: Mapping[str, Any],
    targets: Mapping[str, float] | None = None,
    ax: Any = None,
) -> np.ndarray:
    """
    Trace of each functional, such as the potential energy or a test prediction, one
    chain beside another, below each other.

    :param draws: arrays of shape (chain, draw), or (draw,) for one chain, by name.
    :param targets: values to mark by a dashed line, by name; names without are left
        unmarked.
    :param ax: as many axes as functionals (one alone will do for one); new ones by
        default.
    :return: array of axes, one per functional.
    :raises ValueError: for arrays of another shape, or another number of axes.
    :raises ImportError: without matplotlib.
    """
    traces = {name: _as_trace(value, f"'{name}'") for name, value in draws.items()}
    targets = dict(targets or {})
    if not traces:
        raise ValueError("draws is empty: give at least one functional to plot.")
    unknown = sorted(set(targets) - set(traces))
    if unknown:
        raise ValueError(
            f"targets has {unknown}, which draws does not: {list(traces)}."
        )
    if ax is None:
        _, axes = pyplot().subplots(
            len(traces),
            squeeze=False,
            figsize=(7.0, 0.6 + 1.8 * len(traces)),
            layout="constrained",
        )
        axes = axes[:, 0]
    else:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if axes.size != len(traces):
        raise ValueError(
            f"{len(traces)} functionals need as many axes, but ax has {axes.size}."
        )
    for one, (name, trace) in zip(axes, traces.items(), strict=True):
        index = np.arange(1, trace.shape[1] + 1)
        for chain in trace:
            one.plot(index, chain, linewidth=0.8, alpha=0.8)
        if name in targets:
            one.axhline(targets[name], label="target", **TARGET_LINE)
            _legend_above(one)
        one.set_ylabel(name)
        one.margins(x=0.01)
    axes[-1].set_xlabel("draw")
    return axes


def plot_temperature(
    temperature: Any,
    target: float | Sequence[float] = 1.0,
    names: Sequence[str] | None = None,
    ax: Any = None,
) -> Any:
    """
    Kinetic temperature by draw (thin) and its mean so far (bold), which settles at the
    target where the sampler is right. The legend gives the mean over all chains and
    draws.

    :param temperature: array of shape (chain, draw), or (draw,) for one chain, or
        (chain, draw, groups); or an `MCMC` that was run with
        `extra_fields=("kinetic_temperature",)`.
    :param target: the temperature set, marked by a dashed line; one value, or one for
        each group.
    :param names: names of the groups.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: for an array of another shape, names or targets of another
        number, or an `MCMC` without the field.
    :raises ImportError: without matplotlib.
    """
    if hasattr(temperature, "get_extra_fields"):
        fields = temperature.get_extra_fields(group_by_chain=True)
        if "kinetic_temperature" not in fields:
            raise ValueError(
                "this MCMC did not collect its kinetic temperature: run it with "
                'extra_fields=("kinetic_temperature",).'
            )
        temperature = fields["kinetic_temperature"]
    values = np.asarray(temperature, dtype=np.float64)
    groups = values.shape[2] if values.ndim == 3 else 1
    if values.ndim == 3:
        labels = [f"group {i}" for i in range(groups)] if names is None else list(names)
        values = np.moveaxis(values, -1, 0)
    else:
        labels = ["mean so far"] if names is None else list(names)
        values = _as_trace(values, "temperature")[None]
    if len(labels) != groups:
        raise ValueError(f"{len(labels)} names for {groups} groups of parameters.")
    marks = np.unique(np.asarray(target, dtype=np.float64))
    if np.size(target) not in (1, groups):
        raise ValueError(
            f"{np.size(target)} targets for {groups} groups of parameters."
        )

    ax = _axes(ax)
    index = np.arange(1, values.shape[-1] + 1)
    for group, (label, chains) in enumerate(zip(labels, values, strict=True)):
        for number, chain in enumerate(chains):
            color = f"C{(group if groups > 1 else number) % 10}"
            ax.plot(index, chain, color=color, linewidth=0.5, alpha=0.3)
            ax.plot(
                index,
                np.cumsum(chain) / index,
                color=color,
                linewidth=1.8,
                label=f"{label} ({chains.mean():.3f})" if number == 0 else None,
            )
    for i, mark in enumerate(marks):
        ax.axhline(mark, label="target" if i == 0 else None, **TARGET_LINE)
    ax.set_xlabel("draw")
    ax.set_ylabel("kinetic temperature")
    ax.margins(x=0.01)
    _legend_above(ax)
    return ax


def plot_predictive_comparison(
    probs: Any,
    reference_probs: Any,
    labels: tuple[str, str] = ("posterior", "reference"),
    ax: Any = None,
) -> Any:
    """
    Predictive probabilities of all classes at all test points against those of a
    reference, with total variation and agreement in the title. Points lie on the
    diagonal where the two are the same.

    :param probs: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param reference_probs: likewise, with draws of its own.
    :param labels: what to call the two.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: where points or classes differ, or these are no probabilities.
    :raises ImportError: without matplotlib.
    """
    p = mean_probabilities(probs, "probs")
    q = mean_probabilities(reference_probs, "reference_probs")
    distance, same = total_variation(p, q), agreement(p, q)
    ax = _axes(ax, square=True)
    ax.plot([0, 1], [0, 1], **TARGET_LINE)
    # Thousands of points would make a vector picture slow to open.
    ax.scatter(
        q.ravel(), p.ravel(), s=9, alpha=0.35, linewidths=0, zorder=3, rasterized=True
    )
    ax.set_xlabel(f"{labels[1]}: predictive probability")
    ax.set_ylabel(f"{labels[0]}: predictive probability")
    ax.set_title(f"total variation {distance:.3f}, agreement {100 * same:.1f} %")
    _unit_square(ax)
    return ax


def plot_calibration(
    probs_by_name: Mapping[str, Any], labels: Any, num_bins: int = 15, ax: Any = None
) -> Any:
    """
    Accuracy by confidence of several classifiers, with their expected calibration
    errors in the legend. A calibrated classifier lies on the diagonal; bars are twice
    the binomial standard error that it would have.

    :param probs_by_name: class probabilities of shape (..., points, classes), by name
        of the classifier; axes before the last two are draws and are averaged.
    :param labels: whole numbers of shape (points,), from 0 to classes - 1.
    :param int num_bins: number of bins of confidence.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: where shapes differ or these are no probabilities or labels.
    :raises ImportError: without matplotlib.
    """
    if not probs_by_name:
        raise ValueError(
            "probs_by_name is empty: give at least one classifier to plot."
        )
    averaged = {
        name: mean_probabilities(probs, f"probs_by_name['{name}']")
        for name, probs in probs_by_name.items()
    }
    curves = {
        name: calibration_curve(probs, labels, num_bins)
        for name, probs in averaged.items()
    }
    ax = _axes(ax, square=True)
    ax.plot([0, 1], [0, 1], **TARGET_LINE)
    for name, curve in curves.items():
        error = expected_calibration_error(averaged[name], labels, num_bins)
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
    ax.set_xlabel("confidence")
    ax.set_ylabel("accuracy")
    _unit_square(ax)
    ax.legend(loc="upper left", frameon=False)
    return ax


def _axes(ax: Any, square: bool = False) -> Any:
    return new_axes(ax, (4.8, 4.8) if square else (7.0, 3.2))


def _legend_above(ax: Any) -> None:
    # Traces fill the axes from side to side: inside, a legend always covers some.
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=4,
        frameon=False,
        borderaxespad=0.1,
    )


def _unit_square(ax: Any) -> None:
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")


def _as_trace(value: Any, name: str) -> np.ndarray:
    trace = np.asarray(value, dtype=np.float64)
    trace = trace[None] if trace.ndim == 1 else trace
    if trace.ndim != 2 or trace.size == 0:
        raise ValueError(
            f"{name} has shape {trace.shape}; a trace must be (chain, draw), or "
            "(draw,) for one chain."
        )
    return trace
