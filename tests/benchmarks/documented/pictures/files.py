# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Files of pictures: drawn the same from the same figures, which stand in them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Figures = dict[str, Any]


class Picture(NamedTuple):
    """
    A picture of a part of the record.

    - **values** - function of the part's figures: the numbers in the picture.
    - **draw** - function that makes a Matplotlib figure of the numbers.
    """

    values: Callable[[Figures], Any]
    draw: Callable[[Any], Any]


def is_current(picture: Picture, figures: Figures, path: Path) -> bool:
    """Whether a file was drawn from these figures."""
    stamp = _stamp(picture.values(figures))
    return path.exists() and f"<dc:description>{stamp}<" in path.read_text()


def save(picture: Picture, figures: Figures, path: Path) -> None:
    """Draw a picture into a file."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    values = picture.values(figures)
    look = {"svg.hashsalt": "numpyro_pl", "font.size": 12, "axes.linewidth": 0.8}
    with mpl.rc_context(look):
        figure = picture.draw(values)
        metadata = {"Date": None, "Creator": None, "Description": _stamp(values)}
        figure.savefig(path, metadata=metadata)
        plt.close(figure)
    # Matplotlib leaves blanks at the ends of lines, which git points at.
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))


def _stamp(values: Any) -> str:
    """The numbers in the picture, as text."""
    return json.dumps(values).replace('"', "")
