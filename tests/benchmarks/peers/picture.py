# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Error against seconds, a line for each competitor."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from .curves import best_at
from .grid import OURS, OURS_SHORT

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2")
"""Those of Okabe and Ito, without yellow."""

STYLES = ("-", "--", ":")
POINTS = 120


def lower_envelope(runs: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds, and the least error of any setting then."""
    times = [point["seconds"] for run in runs for point in run["points"]]
    if not times:
        return np.zeros(0), np.zeros(0)
    grid = np.unique(np.append(np.geomspace(min(times), max(times), POINTS), times))
    best = [best_at(runs, "seconds", seconds) for seconds in grid]
    pairs = [(s, b[1]["error"]) for s, b in zip(grid, best, strict=True) if b]
    seconds, errors = np.array(pairs).reshape(-1, 2).T
    return seconds, errors


def draw(found: dict[str, Any], path: Path) -> None:
    """Save the picture of a race."""
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for i, (name, runs) in enumerate(found["runs"].items()):
        seconds, errors = lower_envelope(runs)
        if len(seconds) == 0:
            continue
        ax.plot(
            seconds,
            errors,
            label=name,
            color=COLOURS[i % len(COLOURS)],
            linestyle=STYLES[i // len(COLOURS)],
            linewidth=2.5 if name in (OURS, OURS_SHORT) else 1.5,
        )
    ax.axhline(
        found["reference"]["noise"],
        color="0.4",
        linestyle=(0, (6, 3)),
        linewidth=1,
        label="error of the reference",
    )
    ax.set(
        xscale="log", yscale="log", xlabel="seconds, compilation and tuning included"
    )
    ax.set_ylabel("error of predictions (mean total variation)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    ax.tick_params(which="minor", labelsize=8)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path)
    plt.close(figure)
