# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What all texts are made of."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

MINUS = "-"


class Text(NamedTuple):
    """
    A text with figures.

    - **parts** - parts of the record whose figures it states.
    - **write** - function of the markup and of the figures of each part; None for the
      text that says how a part was measured.
    """

    parts: tuple[str, ...]
    write: Callable[..., str] | None


def shown(value: float | None, spec: str) -> str:
    """A number, or a dash where there is none."""
    return MINUS if value is None else format(value, spec)


def span(values: Iterable[float], spec: str) -> str:
    """Smallest to largest; one number where they look the same."""
    values = sorted(values)
    low, high = format(values[0], spec), format(values[-1], spec)
    return low if low == high else f"{low} to {high}"


def listed(words: Iterable[str]) -> str:
    """Words in a row: a, b and c."""
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last


def by_number(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Pairs of a number, as the record has it, and its figures, in order."""
    return sorted(figures.items(), key=lambda pair: float(pair[0]))


def each(values: Iterable[float], spec: str) -> str:
    """Numbers one after the other."""
    return ", ".join(shown(v, spec) for v in values)


def source(part: dict[str, Any]) -> str:
    """With which versions, where and when a part was measured."""
    versions = dict(part["versions"])
    own, python = versions.pop("numpyro_pl"), versions.pop("python")
    others = [f"{name} {number}" for name, number in sorted(versions.items())]
    machine = part["machine"]
    device = machine["device"]
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    where = f"{cores} ({machine['processor']})"
    where += "" if device == "cpu" else f", device {device}"
    return (
        f"Measured with numpyro_pl {own}, {', '.join(others)} and Python {python} on "
        f"{where}, {part['date']}, in {part['seconds']} seconds."
    )
