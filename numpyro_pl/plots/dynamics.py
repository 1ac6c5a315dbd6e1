# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of what dynamics do: how far chains travel, and how normal their noise is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtri

from numpyro_pl.diagnostics.minibatch_noise import noise_normality
from numpyro_pl.diagnostics.travel import squared_distance
from numpyro_pl.plots.axes import (
    COLORS,
    SQUARE,
    TARGET_LINE,
    check_by_name,
    legend_above,
    new_axes,
)
from numpyro_pl.trees.checks import check_positive

__all__ = ["plot_minibatch_noise", "plot_squared_distance"]

POINTS = 400
"""Most quantiles of a group: more look the same, and slow down a vector graphic."""


def plot_squared_distance(
    draws_by_name: Mapping[str, Any],
    seconds: Mapping[str, float] | None = None,
    ax: Any = None,
) -> Any:
    """
    Squared distance from the first draw against draws or seconds, one line per chain,
    on logarithmic axes: chains that diffuse freely have slope 1, chains that have
    reached their stationary distribution are level.

    :param draws_by_name: draws of one or more samplers by name, each as for
        :func:`~numpyro_pl.diagnostics.squared_distance`.
    :param seconds: wall-clock time of all draws of each sampler after warmup, by name.
        None: the axis counts draws.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises TypeError: if `draws_by_name` is not a mapping.
    :raises ValueError: if it is empty, or `seconds` has other names or is not positive.
    :raises ImportError: if Matplotlib is missing.
    """
    check_by_name("draws_by_name", draws_by_name, "draws", "sampler")
    if seconds is not None and set(seconds) != set(draws_by_name):
        raise ValueError(
            f"seconds has the names {sorted(seconds)}, draws_by_name "
            f"{sorted(draws_by_name)}: give one time for each sampler."
        )
    ax = new_axes(ax)
    for i, (name, draws) in enumerate(draws_by_name.items()):
        distance = squared_distance(draws)[:, 1:]
        at = np.arange(1.0, distance.shape[1] + 1)
        if seconds is not None:
            per_draw = check_positive(f"seconds['{name}']", seconds[name])
            at *= per_draw / (distance.shape[1] + 1)
        for number, chain in enumerate(distance):
            label = name if number == 0 else None
            ax.plot(
                at, chain, color=COLORS[i % len(COLORS)], linewidth=1.0, label=label
            )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("draws after the first" if seconds is None else "seconds")
    ax.set_ylabel("squared distance")
    legend_above(ax)
    return ax


def plot_minibatch_noise(noise: Mapping[str, Any], ax: Any = None) -> Any:
    """
    Quantiles of minibatch noise against those of a normal distribution, one line per
    group, with the excess kurtosis and its standard error in the legend. Normal noise
    lies on the dashed line.

    :param noise: arrays of shape (minibatches, coordinates) by group, as from
        :func:`~numpyro_pl.diagnostics.minibatch_noise`.
    :param ax: axes to draw on; new ones by default.
    :return: the axes.
    :raises ValueError: if an array has another shape, or no group has noise.
    :raises ImportError: if Matplotlib is missing.
    """
    table = noise_normality(noise)
    table = table[table.coordinates > 0]
    if table.empty:
        raise ValueError("no group of parameters has any minibatch noise to plot.")
    ax = new_axes(ax, SQUARE)
    ends = [0.0, 0.0]
    for name, row in table.iterrows():
        values = np.asarray(noise[str(name)], np.float64).ravel()
        levels = (np.arange(min(POINTS, values.size)) + 0.5) / min(POINTS, values.size)
        normal, found = ndtri(levels), np.quantile(values, levels)
        label = (
            f"{name} (excess kurtosis {row.excess_kurtosis:.2g} ± "
            f"{row.excess_kurtosis_se:.1g})"
        )
        ax.plot(normal, found, marker=".", markersize=3, linewidth=0.8, label=label)
        ends = [min(ends[0], normal[0]), max(ends[1], normal[-1])]
    ax.plot(ends, ends, label="normal", **TARGET_LINE)
    ax.set_xlabel("quantile of a normal distribution (sd)")
    ax.set_ylabel("quantile of the minibatch noise (sd)")
    legend_above(ax)
    return ax
