# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of a sweep over temperatures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.sweep_results import OF_EVERY_SWEEP
from numpyro_pl.plots.axes import TARGET_LINE, given_axes, legend_above, new_panels

__all__ = ["plot_temperature_sweep"]

WORDS = {
    "error": "error",
    "loss": "loss (nats per point)",
    "calibration_error": "calibration error",
    "potential_energy": "potential (nats)",
}
"""Labels of axes by the last part of a metric's name."""

REFERENCE_STYLES = ("--", ":", "-.")


def plot_temperature_sweep(
    sweep: Any,
    panels: Mapping[str, Sequence[str]] | None = None,
    references: Mapping[str, Mapping[str, float]] | None = None,
    ax: Any = None,
) -> np.ndarray:
    """
    Metrics of a sweep against temperature, on a logarithmic axis, with bars of two
    standard errors. Metrics that end in the same word share a panel, such as
    `train.error` and `test.error`.

    :param sweep: the result of :func:`~numpyro_pl.diagnostics.temperature_sweep`.
    :param panels: names of metrics by label of a panel; by default all scalar metrics,
        or the potential if there is none.
    :param references: values to mark by a horizontal line, by label of the panel (or
        the word of its metrics, such as `error`) and name of the line, such as
        `{"error": {"Adam, stopped early": 0.112}}`.
    :param ax: one set of axes per panel; new ones by default.
    :return: array of axes of shape (panels,).
    :raises ValueError: for a metric that the sweep does not have or that is no scalar,
        a reference to no panel, or another number of axes.
    :raises ImportError: if Matplotlib is missing.
    """
    panels = dict(panels or _panels_of(sweep))
    _check_metrics(sweep, panels)
    lines = {WORDS.get(key, key): value for key, value in (references or {}).items()}
    unknown = sorted(set(lines) - set(panels))
    if unknown:
        raise ValueError(
            f"references has {unknown}, which is no panel: they are {list(panels)}."
        )
    axes = _axes(ax, len(panels))
    for one, (label, names) in zip(axes, panels.items(), strict=True):
        _draw_panel(one, sweep, names, lines.get(label, {}))
        one.set_ylabel(label)
    return axes


def _panels_of(sweep: Any) -> dict[str, list[str]]:
    """Scalar metrics by the words that they end in."""
    found: dict[str, list[str]] = {}
    for name in map(str, sweep.data_vars):
        is_metric = f"{name}_se" in sweep and name not in OF_EVERY_SWEEP
        if is_metric and sweep[name].ndim == 1:
            word = name.rpartition(".")[2]
            found.setdefault(WORDS.get(word, word), []).append(name)
    # Those of a classifier in their usual order, before all others.
    usual = [label for label in WORDS.values() if label in found]
    found = {label: found[label] for label in dict.fromkeys([*usual, *found])}
    return found or {WORDS["potential_energy"]: ["potential_energy"]}


def _check_metrics(sweep: Any, panels: Mapping[str, Sequence[str]]) -> None:
    scalars = [
        str(name)
        for name in sweep.data_vars
        if f"{name}_se" in sweep and sweep[name].ndim == 1
    ]
    asked = [name for names in panels.values() for name in names]
    unknown = sorted(set(asked) - set(scalars))
    if unknown or not asked:
        raise ValueError(
            f"the sweep has no scalar metrics {unknown}: it has {scalars}. Select one "
            "entry of an array metric in the metrics function."
        )


def _axes(ax: Any, num: int) -> np.ndarray:
    """The axes given, or new ones side by side, of shape (num,)."""
    if ax is None:
        axes = new_panels(1, num, (0.6 + 3.6 * num, 3.4))
        # Else the label of an axis touches the panel beside it.
        axes[0].figure.get_layout_engine().set(wspace=0.06)
        return axes
    return given_axes(ax, num, "panels")


def _draw_panel(
    ax: Any, sweep: Any, names: Sequence[str], lines: Mapping[str, float]
) -> None:
    order = np.argsort(sweep.temperature.to_numpy())
    temperature = sweep.temperature.to_numpy()[order]
    for name in names:
        ax.errorbar(
            temperature,
            sweep[name].to_numpy()[order],
            yerr=2 * sweep[f"{name}_se"].to_numpy()[order],
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            label=_in_words(name),
        )
    for i, (label, value) in enumerate(lines.items()):
        style = {**TARGET_LINE, "linestyle": REFERENCE_STYLES[i % 3]}
        ax.axhline(value, label=label, **style)
    ax.set_xscale("log")
    ax.set_xlabel("temperature T")
    legend_above(ax)


def _in_words(name: str) -> str:
    """`test.calibration_error` as "test"; a name of one part as it is."""
    first = name.rpartition(".")[0] or name
    return first.replace("_", " ").replace(".", " ")
