# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Errors against seconds and passes over the data, from the record of a run."""

from typing import Any

import numpy as np

from .race import Record
from .reference import Reference, variation

BURN_IN = (0.0, 0.25, 0.5, 0.75)
"""Shares of its draws so far that a peer may leave out: the best of them counts."""

MOST_POINTS = 60
"""Most points of a curve."""


def cumulative(values: np.ndarray) -> np.ndarray:
    """Sums over all chunks before each, in double precision, and over all."""
    start = np.zeros((1, *values.shape[1:]))
    return np.concatenate([start, np.cumsum(values, 0, dtype=float)])


def errors(record: Record, reference: Reference, peer: bool) -> list[dict[str, Any]]:
    """
    A point for each of a choice of chunks, evenly spaced in the logarithm: seconds,
    passes, the error of predictions (mean total variation distance), the error of the
    mean squares of weights (in posterior sd, mean over sites), and the share of the
    draws that was left out.

    :param peer: whether draws may be left out.
    """
    draws, probs = cumulative(record.draws), cumulative(record.probs)
    squares = cumulative(record.squares)
    shares = BURN_IN if peer else BURN_IN[:1]

    def error(end: int, share: float) -> tuple[float, float, float]:
        first = int(share * end)
        number = draws[end] - draws[first]
        off = (squares[end] - squares[first]) / number - reference.squares
        return (
            variation((probs[end] - probs[first]) / number, reference.probs),
            float(np.mean(np.abs(off) / reference.squares_sd)),
            share,
        )

    points = []
    for chunk in chosen(len(record.seconds)):
        best = min(error(chunk + 1, share) for share in shares)
        points.append(
            {
                "seconds": float(record.seconds[chunk]),
                "passes": float(record.passes[chunk]),
                "error": best[0],
                "squares_error": best[1],
                "left_out": best[2],
            }
        )
    return points


def chosen(number: int) -> list[int]:
    """At most `MOST_POINTS` of so many chunks; the last is one of them."""
    if number <= MOST_POINTS:
        return list(range(number))
    return sorted({round(i) - 1 for i in np.geomspace(1, number, MOST_POINTS)})


def at(points: list[dict], unit: str, most: float) -> dict | None:
    """The last point of a curve up to so many seconds or passes, None before any."""
    before = [point for point in points if point[unit] <= most]
    return before[-1] if before else None


def best_at(runs: list[dict], unit: str, most: float) -> tuple[dict, dict] | None:
    """The run of a competitor with the least error then, and its point."""
    found = [(run, at(run["points"], unit, most)) for run in runs if run["finite"]]
    there = [(run, point) for run, point in found if point is not None]
    return min(there, key=lambda pair: pair[1]["error"], default=None)
