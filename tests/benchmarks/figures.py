# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure every figure in the README and documentation, and write them there.

    python tests/benchmarks/figures.py                 all, 30 to 40 minutes
    python tests/benchmarks/figures.py --only digits   one part anew, the others kept
    python tests/benchmarks/figures.py --quick         tiny runs, nothing written
    python tests/benchmarks/figures.py --check         nothing measured: exit with 1
                                                       where a page differs

Figures are kept in `docs/figures.json`, with versions, machine and date of every part.
From there they are written between the marks in README.md and in the pages of `docs`:
`documented/places.py` says what a mark looks like, `documented/texts.py` which texts
there are.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from documented import pictures, places, record
from documented.parts import PARTS, Effort


def check() -> int:
    """Compare the pages with the record; 1 where one differs."""
    figures = record.load()
    quick = sorted(name for name, part in figures.items() if part.get("quick"))
    if quick:
        print(f"from quick runs, to be measured anew: {', '.join(quick)}")
    differing = [str(p.relative_to(record.ROOT)) for p in places.differing(figures)]
    if differing:
        print(
            f"{', '.join(differing)}: not what docs/figures.json says. Change figures "
            "with tests/benchmarks/figures.py and texts in documented/texts.py; "
            "`figures.py --render` writes the pages anew."
        )
    old_pictures = pictures.stale(figures)
    for name in old_pictures:
        print(f"docs/{name}.svg was drawn from other figures: `figures.py --render`.")
    return int(bool(differing or old_pictures))


def render(figures: record.Record) -> list[Path]:
    """Write pages and pictures, and return the pages that changed."""
    for name in pictures.stale(figures):
        pictures.draw(name, figures)
    return places.fill_all(figures)


def measure(names: Sequence[str], quick: bool, write: bool, shared: Path) -> None:
    """
    Measure parts, record them and fill the pages.

    :param shared: directory for what parts leave for each other.
    """
    figures = record.load()
    for name in names:
        begin = time.perf_counter()
        print(f"{name} ...", flush=True)
        measured = PARTS[name](Effort(quick, shared))
        seconds = time.perf_counter() - begin
        figures[name] = record.entry(measured, seconds, quick)
        print(f"{name}: {seconds:.0f} s\n{figures[name]['figures']}", flush=True)
        if write:
            record.save(figures)
    if write:
        changed = render(figures)
        print("written:", *(p.relative_to(record.ROOT) for p in changed))
    else:
        places.differing(figures)
        print("All pages can be rendered; nothing was written.")


def measure_apart(names: Sequence[str], flags: Sequence[str], shared: Path) -> None:
    """
    Measure each part in a process of its own: the programs that a process has compiled
    stay in its memory, and there is a limit to their number.

    :raises subprocess.CalledProcessError: if a part fails; those before it are kept.
    """
    for name in names:
        command = [sys.executable, __file__, "--only", name, "--shared", str(shared)]
        subprocess.run([*command, *flags], check=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="tiny runs")
    parser.add_argument(
        "--write", action="store_true", help="write the figures of quick runs too"
    )
    parser.add_argument(
        "--check", action="store_true", help="whether pages and figures.json agree"
    )
    parser.add_argument(
        "--render", action="store_true", help="write pages from figures.json as it is"
    )
    parser.add_argument("--shared", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.check:
        return check()
    if options.render:
        render(record.load())
    else:
        _measure(options)
    return 0


def _measure(options: argparse.Namespace) -> None:
    names = options.only or list(PARTS)
    write = options.write or not options.quick
    with tempfile.TemporaryDirectory() as directory:
        shared = options.shared or Path(directory)
        if len(names) == 1:
            measure(names, options.quick, write, shared)
        else:
            flags = [f"--{f}" for f in ("quick", "write") if getattr(options, f)]
            measure_apart(names, flags, shared)


if __name__ == "__main__":
    sys.exit(main())
