# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Error against seconds, a line for each competitor."""

from typing import Any

import numpy as np
from documented.pictures.files import Picture

from .curves import best_at
from .grid import OURS, OURS_SHORT

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2")
"""Those of Okabe and Ito, without yellow."""

STYLES = ("-", "--", ":")
POINTS = 80


def lower_envelope(runs: list[dict]) -> list[list[float]]:
    """Seconds, and the least error of any setting then."""
    times = [point["seconds"] for run in runs for point in run["points"]]
    if not times:
        return []
    grid = np.geomspace(min(times), max(times), POINTS)
    best = [(s, best_at(runs, "seconds", s)) for s in [*grid[:-1], max(times)]]
    return [[round(float(s), 2), round(b[1]["error"], 5)] for s, b in best if b]


def numbers(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers in the picture of a race."""
    lines = {name: lower_envelope(runs) for name, runs in found["runs"].items()}
    return {"reference": round(found["reference"]["noise"], 5), "lines": lines}


def drawn(values: dict[str, Any]) -> Any:
    """The picture."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for i, (name, points) in enumerate(values["lines"].items()):
        if not points:
            continue
        ax.step(
            *zip(*points, strict=True),
            where="post",
            label=name,
            color=COLOURS[i % len(COLOURS)],
            linestyle=STYLES[i // len(COLOURS)],
            linewidth=2.5 if name in (OURS, OURS_SHORT) else 1.5,
        )
    ax.axhline(
        values["reference"],
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
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


ERRORS = Picture(numbers, drawn)
