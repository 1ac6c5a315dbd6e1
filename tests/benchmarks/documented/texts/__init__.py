# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Every text that states a measured figure: pure functions of the record.

A text has a name, that of its place in a page, and the parts of the record that it
needs. It is written in Markdown and in reStructuredText alike.
"""

from documented.markup import Markup
from documented.record import Record
from documented.texts import (
    digits,
    noise_fractions,
    small,
    speed,
    spirals,
    tall,
    warm_start,
)
from documented.texts.common import Text, source

__all__ = ["TEXTS", "rendered"]

QUICK = "(quick run)"

TEXTS: dict[str, Text] = {
    **small.TEXTS,
    **tall.TEXTS,
    **digits.TEXTS,
    **noise_fractions.TEXTS,
    **spirals.TEXTS,
    **warm_start.TEXTS,
    **speed.TEXTS,
}
SOURCES = {
    f"{part}_source": part
    for part in sorted({part for text in TEXTS.values() for part in text.parts})
}
"""Texts that say with what, where and when a part was measured."""

TEXTS |= {name: Text((part,), None) for name, part in SOURCES.items()}


def rendered(name: str, record: Record, markup: Markup) -> str:
    """
    A text.

    :param name: one of `TEXTS`.
    :param record: the figures, see `documented.record`.
    :param markup: of the page it stands in.
    """
    parts, write = TEXTS[name]
    if any(part not in record for part in parts):
        return "Not measured yet."
    if write is None:
        text = markup.paragraph(source(record[parts[0]]))
    else:
        text = write(markup, *(record[part]["figures"] for part in parts))
    quick = any(record[part].get("quick") for part in parts)
    return f"{text}\n\n{QUICK}" if quick else text
