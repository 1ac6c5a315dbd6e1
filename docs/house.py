# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Draws the rooms of the package from the lines in architecture.rst."""

import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

WIDTH, HEIGHT = 1.7, 0.5


def rooms(page: str) -> dict[str, tuple[int, list[str]]]:
    """Floor of each room, and the rooms that it imports from, as the page says."""
    lines = re.findall(r"^   (\d)  (\w+)(?: -> ([\w, ]+))?$", page, re.MULTILINE)
    return {
        room: (int(floor), [name.strip() for name in below.split(",") if name.strip()])
        for floor, room, below in lines
    }


def draw(page: Path, picture: Path) -> None:
    """
    Draw the rooms, a floor above a floor, with an arrow for each import. The ground
    floor is a bar, because all rooms that compute use it.

    :param page: architecture.rst.
    :param picture: where to write the picture.
    """
    found = rooms(page.read_text())
    top = max(floor for floor, _ in found.values())
    place = {}
    for floor in range(2, top + 1):
        names = [room for room, (f, _) in found.items() if f == floor]
        for i, room in enumerate(names):
            place[room] = (2.2 * (i - (len(names) - 1) / 2), 1.25 * floor)
    fig, ax = plt.subplots(figsize=(9.0, 5.4), layout="constrained")
    for room, (x, y) in place.items():
        for other in found[room][1]:
            if other in place:
                color = "0.8" if room == "__init__" else "0.45"
                _arrow(ax, (x, y - HEIGHT / 2), place[other], color)
    for room, (x, y) in place.items():
        _box(ax, "numpyro_pl" if room == "__init__" else room, (x, y), WIDTH)
    _box(ax, "trees: under all rooms that compute", (0.0, 1.25), 8.4)
    ax.set_xlim(-4.5, 4.5)
    ax.set_ylim(0.8, 1.25 * top + 0.5)
    ax.set_axis_off()
    picture.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(picture)
    plt.close(fig)


def _arrow(ax, start, room, color: str) -> None:
    end = (room[0], room[1] + HEIGHT / 2)
    style = {"arrowstyle": "-|>", "color": color, "lw": 0.9, "shrinkB": 1}
    ax.annotate("", end, start, arrowprops=style, zorder=1)


def _box(ax, text: str, centre, width: float) -> None:
    x, y = centre
    corner = (x - width / 2, y - HEIGHT / 2)
    ax.add_patch(
        plt.Rectangle(corner, width, HEIGHT, fc="#dbe9f6", ec="#2f5d8a", zorder=2)
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=11, zorder=3)
