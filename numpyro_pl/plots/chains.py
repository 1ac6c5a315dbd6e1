# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of chains: traces of functionals, and the kinetic temperature."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpyro_pl.plots.axes import (
    COLORS,
    TARGET_LINE,
    given_axes,
    legend_above,
    new_axes,
    new_panels,
)

__all__ = ["plot_noise", "plot_temperature", "plot_traces"]

LOG_SCALE_FROM = 10
"""Ratio of targets above which a linear axis would flatten the coldest groups."""


def plot_traces(
    draws: Mapping[str, Any],
    targets: Mapping[str, float] | None = None,
    ax: Any = None,
) -> np.ndarray:
    """
    Trace of each functional, such as the potential energy or a test prediction, in its
    own panel with one line per chain.

    :param draws: arrays of shape (chain, draw), or (draw,) for one chain, by name.
    :param targets: values to mark by a dashed line, by name; may leave out names.
    :param ax: one set of axes per functional; new ones by default.
    :return: array of axes of shape (functionals,).
    :raises ValueError: if an array has another shape, `targets` has a name that `draws`
        lacks, or the number of axes does not match.
    :raises ImportError: if Matplotlib is missing.
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
    axes = _trace_axes(ax, len(traces))
    for one, (name, trace) in zip(axes, traces.items(), strict=True):
        index = np.arange(1, trace.shape[1] + 1)
        for chain in trace:
            one.plot(index, chain, linewidth=0.8, alpha=0.8)
        if name in targets:
            one.axhline(targets[name], label="target", **TARGET_LINE)
            legend_above(one)
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
    Kinetic temperature at each draw (thin lines) and its running mean (bold), one of
    each per chain. The running mean converges to the target if the chain samples
    correctly. The legend gives the mean over all chains and draws. Draws that diverged
    are left out of an `MCMC`, and those that are not finite of an array. The
    temperature axis is logarithmic if the targets differ by more than a factor of 10.

    :param temperature: array of shape (chain, draw), or (draw,) for one chain, or
        (chain, draw, groups); or an `MCMC` of a kernel of this package.
    :param target: temperature of the sampler, marked by a dashed line; one value, or
        one per group.
    :param names: names of the groups.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: if the array has another shape, the number of names or targets
        does not match, or the `MCMC` lacks the field.
    :raises ImportError: if Matplotlib is missing.
    """
    field = "kinetic_temperature"
    values, labels = _by_group(_collected(temperature, field), "temperature", names)
    if np.size(target) not in (1, len(values)):
        raise ValueError(
            f"{np.size(target)} targets for {len(values)} groups of parameters."
        )
    ax = new_axes(ax)
    _draw_groups(ax, values, labels)
    marks = np.unique(np.asarray(target, dtype=np.float64))
    if np.nanmin(values) > 0 and marks[0] > 0 and marks[-1] > LOG_SCALE_FROM * marks[0]:
        ax.set_yscale("log")
    for i, mark in enumerate(marks):
        ax.axhline(mark, label="target" if i == 0 else None, **TARGET_LINE)
    ax.set_xlabel("draw")
    ax.set_ylabel("kinetic temperature")
    ax.margins(x=0.01)
    legend_above(ax)
    return ax


def plot_noise(
    noise_fraction: Any, names: Sequence[str] | None = None, ax: Any = None
) -> Any:
    """
    Share of the thermostat's noise that the minibatches supply, at each draw (thin
    lines) and its running mean (bold), one of each per chain. The legend gives the mean
    over all chains and draws. A share that grows after warmup means that the chains
    have moved to where the noise is larger. Draws that diverged are left out of an
    `MCMC`.

    :param noise_fraction: array of shape (chain, draw), or (draw,) for one chain, or
        (chain, draw, groups); or an `MCMC` of a kernel of this package.
    :param names: names of the groups.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: if the array has another shape, the number of names does not
        match, or the `MCMC` lacks the field.
    :raises ImportError: if Matplotlib is missing.
    """
    found = _collected(noise_fraction, "noise_fraction")
    values, labels = _by_group(found, "noise_fraction", names)
    ax = new_axes(ax)
    _draw_groups(ax, values, labels)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("draw")
    ax.set_ylabel("share of minibatch noise")
    ax.margins(x=0.01)
    legend_above(ax)
    return ax


def _trace_axes(ax: Any, num: int) -> np.ndarray:
    """The axes given, or new ones below each other, of shape (num,)."""
    if ax is None:
        return new_panels(num, 1, (7.0, 0.6 + 1.8 * num))
    return given_axes(ax, num, "functionals")


def _draw_groups(ax: Any, values: np.ndarray, labels: Sequence[str]) -> None:
    """Values of shape (groups, chain, draw), with their means in the legend."""
    for group, (label, chains) in enumerate(zip(labels, values, strict=True)):
        # With a single group each chain has a color; otherwise each group has one.
        numbers = [group if len(values) > 1 else i for i in range(len(chains))]
        colors = [COLORS[k % len(COLORS)] for k in numbers]
        _draw_group(ax, chains, colors, f"{label} ({np.nanmean(chains):#.4g})")


def _draw_group(ax: Any, chains: np.ndarray, colors: Sequence[str], label: str) -> None:
    """Values and running means of chains of shape (chain, draw); NaN is left out."""
    index = np.arange(1, chains.shape[1] + 1)
    kept = np.isfinite(chains)
    sums = np.cumsum(np.where(kept, chains, 0.0), -1)
    means = sums / np.maximum(np.cumsum(kept, -1), 1)
    for number, (chain, color) in enumerate(zip(chains, colors, strict=True)):
        ax.plot(index, chain, color=color, linewidth=0.5, alpha=0.3)
        ax.plot(
            index,
            means[number],
            color=color,
            linewidth=1.8,
            label=label if number == 0 else None,
        )


def _by_group(
    field: Any, name: str, names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Values of shape (groups, chain, draw), and one label per group."""
    values = np.asarray(field, dtype=np.float64)
    if values.ndim == 3:
        values = np.moveaxis(values, -1, 0)
        labels = [f"group {i}" for i in range(len(values))]
    else:
        values = _as_trace(values, name)[None]
        labels = ["running mean"]
    if values.size == 0:
        raise ValueError(f"{name} holds no draws: its shape is {values.shape}.")
    if names is not None:
        labels = list(names)
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} names for {len(values)} groups of parameters.")
    return values, labels


def _collected(source: Any, field: str) -> Any:
    """
    A field of an `MCMC`, NaN at draws that diverged; anything else is returned
    unchanged.
    """
    if not hasattr(source, "get_extra_fields"):
        return source
    fields = source.get_extra_fields(group_by_chain=True)
    if field not in fields:
        raise ValueError(
            f"this MCMC did not collect {field}, which every run of a kernel of this "
            f'package does: run it with extra_fields=("{field}",).'
        )
    values = np.array(fields[field], dtype=np.float64)
    if "diverging" in fields:
        values[np.asarray(fields["diverging"], bool)] = np.nan
    return values


def _as_trace(value: Any, name: str) -> np.ndarray:
    trace = np.asarray(value, dtype=np.float64)
    trace = trace[None] if trace.ndim == 1 else trace
    if trace.ndim != 2 or trace.size == 0:
        raise ValueError(
            f"{name} has shape {trace.shape}; a trace must be (chain, draw), or "
            "(draw,) for one chain."
        )
    return trace
