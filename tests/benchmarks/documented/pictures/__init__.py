# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Pictures of the record. The figures that one was drawn from stand in its file, so that
checking it needs no Matplotlib of the same version.
"""

from pathlib import Path

from documented.pictures import noise_fractions, tall
from documented.pictures.files import Picture, is_current, save
from documented.record import ROOT, Record

__all__ = ["PICTURES", "draw", "stale"]

PICTURES = {
    "tall": Picture(tall.rates, tall.draw),
    "noise_fractions": Picture(noise_fractions.curves, noise_fractions.draw),
}
"""By the part of the record that they show, which is also the name of their file."""


def stale(record: Record, directory: Path = ROOT / "docs") -> list[str]:
    """Names of the pictures that were drawn from other figures."""
    return [
        name
        for name, one in PICTURES.items()
        if name in record
        and not is_current(one, record[name]["figures"], directory / f"{name}.svg")
    ]


def draw(name: str, record: Record, directory: Path = ROOT / "docs") -> None:
    """Draw a picture of the record into a directory."""
    save(PICTURES[name], record[name]["figures"], directory / f"{name}.svg")
