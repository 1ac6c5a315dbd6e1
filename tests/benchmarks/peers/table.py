# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Tables of a race, as text."""

from typing import Any

from .curves import best_at
from .grid import OURS

COLUMNS = (
    ("error", 9),
    ("factor", 8),
    ("moments", 9),
    ("passes", 9),
    ("left out", 10),
    ("first draw", 12),
    ("compiling", 11),
    ("cores", 7),
)


def words(setting: dict) -> str:
    """A setting in words."""
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def row(name: str, runs: list[dict], ours: float | None, unit: str, most: float) -> str:
    """
    A competitor at so many seconds or passes, with the best setting of its grid there.

    :param ours: the error of this package, of which others are given as multiples.
    """
    found = best_at(runs, unit, most)
    if found is None:
        return f"{name:<34}no draw yet"
    run, point = found
    factor = f"{point['error'] / ours:.2f}" if ours else ""
    values = (
        f"{point['error']:.4f}",
        factor,
        f"{point['squares_error']:.2f}",
        f"{point['passes']:.0f}",
        f"{point['left_out']:.2f}",
        f"{run['first_draw']:.1f}",
        f"{run['compiling']:.1f}",
        f"{run['cores']:.1f}",
    )
    cells = "".join(f"{v:>{w}}" for v, (_, w) in zip(values, COLUMNS, strict=True))
    return f"{name:<34}{cells}  {words(run['setting'])}"


def table(found: dict[str, Any], unit: str, most: float) -> str:
    """All competitors at so many seconds or passes."""
    runs = found["runs"]
    ours = best_at(runs.get(OURS, []), unit, most)
    error = ours[1]["error"] if ours else None
    title = f"after {most:g} {unit}"
    titles = "".join(f"{name:>{width}}" for name, width in COLUMNS)
    rows = [row(name, of_one, error, unit, most) for name, of_one in runs.items()]
    return "\n".join([f"{title:<34}{titles}  best setting", *rows])


def factor_of_best(found: dict[str, Any], peers: list[str], seconds: float) -> str:
    """The best peer's error in units of this package's; above 1 where ours is less."""
    title = f"after {seconds:g} seconds"
    ours = best_at(found["runs"].get(OURS, []), "seconds", seconds)
    theirs = {p: best_at(found["runs"].get(p, []), "seconds", seconds) for p in peers}
    errors = {p: best[1]["error"] for p, best in theirs.items() if best is not None}
    if not errors:
        return f"{title}: no peer has a draw"
    name = min(errors, key=lambda p: errors[p])
    if ours is None:
        return f"{title}: no draw of {OURS} yet; the best peer, {name}, has some"
    factor = errors[name] / ours[1]["error"]
    told = "holds" if factor > 1 else "does NOT hold"
    return (
        f"{title}: error of the best peer, {name}, over that of {OURS}: {factor:.2f}; "
        f"that ours is below every peer's {told}"
    )


def text(found: dict[str, Any], peers: list[str]) -> str:
    """Everything that is printed at the end."""
    reference = found["reference"]
    lines = [
        "error: mean total variation distance to the predictions of long NUTS, itself "
        f"wrong by about {reference['noise']:.4f}; single chains of it are "
        f"{reference['chain_variation']:.4f} apart",
        "factor: that error in units of this package's",
        "moments: error of the mean squares of the weights of a site, in posterior sd, "
        f"mean over sites; of NUTS about {reference['squares_noise']:.2f}",
        "left out: share of the draws so far, the best of several for a peer",
        "",
    ]
    for unit in ("seconds", "passes"):
        for most in found[unit]:
            lines += [table(found, unit, most), ""]
    lines += [factor_of_best(found, peers, seconds) for seconds in found["seconds"]]
    lines += [f"skipped: {name}: {why}" for name, why in found["skipped"].items()]
    return "\n".join(lines)
