# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Files of pictures: drawn the same from the same figures, which stand in them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from documented.record import Record


class Picture(NamedTuple):
    """
    A picture of the record.

    - **part** - of the record, whose figures it shows.
    - **values** - function of these figures: the numbers in the picture.
    - **draw** - function that makes a Matplotlib figure of the numbers.
    """

    part: str
    values: Callable[[dict[str, Any]], Any]
    draw: Callable[[Any], Any]


def is_current(picture: Picture, record: Record, path: Path) -> bool:
    """Whether a file was drawn from this record."""
    stamp = _stamp(picture, record)
    return path.exists() and f"<dc:description>{stamp}<" in path.read_text()


def save(picture: Picture, record: Record, path: Path) -> None:
    """Draw a picture into a file."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    look = {"svg.hashsalt": "numpyro_pl", "font.size": 12, "axes.linewidth": 0.8}
    with mpl.rc_context(look):
        figure = picture.draw(picture.values(record[picture.part]["figures"]))
        description = _stamp(picture, record)
        metadata = {"Date": None, "Creator": None, "Description": description}
        figure.savefig(path, metadata=metadata)
        plt.close(figure)
    # Matplotlib leaves blanks at the ends of lines, which git points at.
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))


def _stamp(picture: Picture, record: Record) -> str:
    """The figures in the picture, as text."""
    values = picture.values(record[picture.part]["figures"])
    return json.dumps(values).replace('"', "")
