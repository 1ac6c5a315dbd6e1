# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Tables, code and paragraphs in Markdown and in reStructuredText."""

import textwrap
from collections.abc import Sequence

WIDTH = 88


class Markdown:
    """Markup of README.md and other Markdown pages."""

    first_mark, last_mark = "<!-- figures: {} -->", "<!-- end figures -->"

    def code(self, text: str) -> str:
        return f"`{text}`"

    def block(self, text: str) -> str:
        return f"```\n{text}\n```"

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def paragraph(self, text: str) -> str:
        return _wrapped(text)


class Rst:
    """Markup of the pages for Sphinx."""

    first_mark, last_mark = ".. figures: {}", ".. end figures"

    def code(self, text: str) -> str:
        return f"``{text}``"

    def block(self, text: str) -> str:
        return ".. code-block:: text\n\n" + textwrap.indent(text, "    ")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in (head, *rows):
            marks = ["   * -"] + ["     -"] * (len(row) - 1)
            # A dash by itself would begin a list.
            cells = ["\\-" if cell == "-" else cell for cell in row]
            lines += [
                f"{m} {cell}".rstrip() for m, cell in zip(marks, cells, strict=True)
            ]
        return "\n".join(lines)

    def paragraph(self, text: str) -> str:
        return _wrapped(text)


Markup = Markdown | Rst
MARKUPS: dict[str, Markup] = {".md": Markdown(), ".rst": Rst()}
"""By the suffix of the page."""


def _wrapped(text: str) -> str:
    words = " ".join(text.split())
    return textwrap.fill(words, WIDTH, break_long_words=False, break_on_hyphens=False)
