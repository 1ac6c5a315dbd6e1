# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Pictures of the record, `docs/tall.svg`: README shows it. The figures that it was drawn
from stand in the file, so that checking it needs no Matplotlib of the same version.
"""

import json
import re
from pathlib import Path

from documented.record import ROOT, Record

PATH = ROOT / "docs" / "tall.svg"
NAMES = {"NUTS": "NUTS", "PseudoLangevin": "PseudoLangevin, minibatches"}
STYLES = {
    "sampling": ("-", "while sampling"),
    "all": ("--", "with compilation\nand warmup"),
}


def rates(record: Record) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """
    Effective draws a second of the worst coefficient by number of rows, for each
    sampler: of the time of sampling alone, and with compilation and warmup.
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    figures = record["tall"]["figures"]
    for rows in sorted(figures, key=int):
        for name, one in figures[rows].items():
            seconds, worst = one["seconds"], one["ess"][0]
            lines = found.setdefault(name, {part: [] for part in STYLES})
            lines["sampling"].append((int(rows), worst / seconds["sampling"]))
            lines["all"].append((int(rows), worst / sum(seconds.values())))
    return found


def is_current(record: Record, path: Path = PATH) -> bool:
    """Whether the picture was drawn from this record."""
    return path.exists() and f"<dc:description>{_stamp(record)}<" in path.read_text()


def draw(record: Record, path: Path = PATH) -> None:
    """Draw effective draws a second against rows, for both samplers."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from numpyro_pl.plots.axes import COLORS

    found = rates(record)
    look = {"svg.hashsalt": "numpyro_pl", "font.size": 12, "axes.linewidth": 0.8}
    with mpl.rc_context(look):
        fig, ax = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
        for color, marker, name in zip(COLORS, "so", NAMES, strict=False):
            _lines(ax, found[name], color, marker)
            at, high = found[name]["sampling"][0]
            ax.text(at, 1.4 * high, NAMES[name], color=color, weight="bold")
        _gap(ax, found)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(2.2e4, 6e7)
        ax.set_ylim(3, 8e3)
        plain = mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}")
        ax.xaxis.set_major_formatter(plain)
        ax.yaxis.set_major_formatter(plain)
        ax.set_xlabel("rows of data")
        ax.set_ylabel("effective draws per second")
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        metadata = {"Date": None, "Creator": None, "Description": _stamp(record)}
        fig.savefig(path, metadata=metadata)
        plt.close(fig)
    # Matplotlib leaves blanks at the ends of lines, which git points at.
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))


def _lines(ax, one, color: str, marker: str) -> None:
    """Both lines of a sampler, with what they count at their ends."""
    for part, (style, label) in STYLES.items():
        rows, values = zip(*one[part], strict=True)
        face = color if part == "sampling" else "white"
        ax.plot(
            rows,
            values,
            style,
            color=color,
            marker=marker,
            markerfacecolor=face,
            markersize=6.5,
            linewidth=1.8,
        )
        ax.annotate(
            label,
            (rows[-1], values[-1]),
            (10, 5 if part == "sampling" else -7),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=11,
        )


def _gap(ax, found) -> None:
    """How many times as many, with everything, where there are most rows of both."""
    rows, slow = found["NUTS"]["all"][-1]
    fast = dict(found["PseudoLangevin"]["all"])[rows]
    arrow = {"arrowstyle": "<->", "color": "0.35", "shrinkA": 6, "shrinkB": 6}
    ax.annotate("", (rows, fast), (rows, slow), arrowprops=arrow, zorder=1)
    ax.annotate(
        f"{fast / slow:.0f} times",
        (rows, (fast * slow) ** 0.5),
        (8, 10),
        textcoords="offset points",
        color="0.25",
    )


def _stamp(record: Record) -> str:
    """The figures in the picture, as text."""
    return json.dumps(rates(record)).replace('"', "")
