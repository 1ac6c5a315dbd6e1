# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The places in README and documentation where figures stand: between marks that name a
text of `texts.TEXTS`.

In Markdown `<!-- figures: NAME -->` and `<!-- end figures -->`, in reStructuredText the
comments `.. figures: NAME` and `.. end figures`, each on a line of its own.
"""

import re
from pathlib import Path

from documented.markup import MARKUPS
from documented.record import ROOT, Record
from documented.texts import TEXTS, rendered


def pages(root: Path = ROOT) -> list[Path]:
    """README and all pages of the documentation."""
    docs = (root / "docs").iterdir()
    return [root / "README.md", *sorted(p for p in docs if p.suffix in MARKUPS)]


def filled(text: str, suffix: str, record: Record) -> str:
    """
    A page with all of its places filled.

    :param text: the page.
    :param suffix: of its file, which tells the markup.
    :param record: the figures.
    :raises ValueError: for a name that there is no text of, and for a mark without its
        other.
    """
    markup = MARKUPS[suffix]
    first, last = _marks(suffix)
    both = re.compile(rf"^{first}\n.*?^{last}$", re.DOTALL | re.MULTILINE)
    firsts = re.findall(rf"^{first}$", text, re.MULTILINE)
    lasts = re.findall(rf"^{last}$", text, re.MULTILINE)
    unknown = set(firsts) - set(TEXTS)
    if unknown:
        raise ValueError(f"There is no text {sorted(unknown)}; there are {[*TEXTS]}.")
    if not len(firsts) == len(lasts) == len(both.findall(text)):
        raise ValueError(
            f"Marks {firsts} and {len(lasts)} ends do not make pairs, one after the "
            "other."
        )

    def fill(match: re.Match) -> str:
        name = match.group(1)
        mark = markup.first_mark.format(name)
        content = rendered(name, record, markup)
        return f"{mark}\n\n{content}\n\n{markup.last_mark}"

    return both.sub(fill, text)


def _marks(suffix: str) -> tuple[str, str]:
    """Patterns of a place's two marks."""
    markup = MARKUPS[suffix]
    first = re.escape(markup.first_mark)
    return first.replace(re.escape("{}"), r"(\w+)"), re.escape(markup.last_mark)


def names_in(root: Path = ROOT) -> set[str]:
    """Names of all places."""
    found = set()
    for page in pages(root):
        first, _ = _marks(page.suffix)
        found |= set(re.findall(rf"^{first}$", page.read_text(), re.MULTILINE))
    return found


def differing(record: Record, root: Path = ROOT) -> list[Path]:
    """Pages that are not what the record makes of them."""
    return [p for p in pages(root) if _filled_page(p, record) != p.read_text()]


def fill_all(record: Record, root: Path = ROOT) -> list[Path]:
    """Fill all places, and return the pages that changed."""
    changed = differing(record, root)
    for page in changed:
        page.write_text(_filled_page(page, record))
    return changed


def _filled_page(page: Path, record: Record) -> str:
    try:
        return filled(page.read_text(), page.suffix, record)
    except ValueError as e:
        raise ValueError(f"{page.name}: {e}") from None
