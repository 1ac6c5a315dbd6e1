# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Scores of predictions of real numbers, against the values observed.

Arguments are in the order of scikit-learn: `y_true` before the draws. The standard
errors are those of a mean over points: they say how much a score would change on other
test points of the same kind, not how much with more draws.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from numpyro_pl.trees.checks import check_unit_interval

__all__ = ["Score", "crps", "interval_coverage", "log_predictive_density"]

ROUNDING = 1e-6
"""Rounding error of a rank."""


class Score(NamedTuple):
    """
    A score averaged over points.

    - **mean** - the mean over points.
    - **standard_error** - its standard error over points; NaN for one point.
    - **by_point** - the score of each point, of shape (points,).
    """

    mean: float
    standard_error: float
    by_point: np.ndarray


def crps(y_true: Any, y_draws: Any) -> Score:
    r"""
    Continuous ranked probability score of predictive draws, smaller is better: the
    squared distance between the predictive distribution function and that of a point
    mass at the value observed,
    `E|Y - y| - E|Y - Y'| / 2` for independent draws Y and Y'. It is in the units of y,
    and the absolute error where a prediction is certain.

    The expectations are those over all (pairs of different) draws, which makes the
    estimate unbiased for any number of independent draws; it takes one sort of the
    draws of each point.

    **References:**

    1. *Strictly proper scoring rules, prediction, and estimation*, T. Gneiting,
       A. E. Raftery (2007), Journal of the American Statistical Association 102.

    :param y_true: values observed, of shape (points,).
    :param y_draws: posterior predictive draws, with the noise of an observation, of
        shape (..., points); leading axes are draws.
    :return: a :class:`Score`.
    :raises ValueError: if shapes differ, values are not finite, or there is one draw.
    """
    y, draws = _checked(y_true, y_draws, "y_draws", least=2)
    num = len(draws)
    ordered = np.sort(draws, axis=0)
    # The mean of |Y - Y'| over pairs of different draws, from the order statistics.
    weights = 2 * np.arange(1, num + 1) - num - 1
    spread = 2 * np.tensordot(weights, ordered, 1) / (num * (num - 1))
    return _score(np.abs(draws - y).mean(0) - spread / 2)


def interval_coverage(y_true: Any, y_draws: Any, prob: float = 0.9) -> Score:
    """
    Share of the values observed that lie in the central predictive interval. If the
    model is right it is `prob`, within a few standard errors.

    The ends of the interval are at ranks of the draws for which a further draw falls
    into it with probability `prob`, so that few draws do not make it too narrow.

    :param y_true: values observed, of shape (points,).
    :param y_draws: posterior predictive draws, with the noise of an observation, of
        shape (..., points); leading axes are draws.
    :param float prob: probability of the interval, in (0, 1).
    :return: a :class:`Score`; by point it is 1 or 0.
    :raises ValueError: if shapes differ, values are not finite, or there are too few
        draws for an interval of this probability.
    """
    y, draws = _checked(y_true, y_draws, "y_draws")
    prob = check_unit_interval("prob", prob)
    num = len(draws)
    # A further draw is below the k-th of n with probability k / (n + 1).
    lower = (1 - prob) / 2 * (num + 1)
    if prob >= 1 or lower < 1 - ROUNDING:
        least = "more" if prob >= 1 else int(np.ceil(2 / (1 - prob) - 1 - ROUNDING))
        raise ValueError(
            f"an interval of probability {prob:g} cannot be had from {num} draws: give "
            f"at least {least} draws, or a smaller prob below 1."
        )
    ordered = np.sort(draws, axis=0)
    low, high = _at_rank(ordered, lower), _at_rank(ordered, num + 1 - lower)
    return _score(((low <= y) & (y <= high)).astype(float))


def log_predictive_density(log_likelihood: Any) -> Score:
    """
    Log predictive density of the values observed: the log of their posterior-mean
    likelihood, in nats per point; larger is better.

    :param log_likelihood: log likelihood of each point at each draw, of shape
        (..., points), such as
        `numpyro.infer.log_likelihood(mcmc.sampler.model, draws, x_test, y_test)["y"]`;
        leading axes are draws.
    :return: a :class:`Score`.
    :raises ValueError: if there is no axis of draws, or a value is NaN or infinite.
    """
    values = np.asarray(log_likelihood, np.float64)
    if values.ndim < 2 or values.size == 0:
        raise ValueError(
            f"log_likelihood has shape {values.shape}; it must be (..., points), with "
            "at least one axis of draws before that of the points."
        )
    if np.isnan(values).any() or np.isposinf(values).any():
        raise ValueError("log_likelihood has values that are NaN or infinite.")
    flat = values.reshape(-1, values.shape[-1])
    return _score(logsumexp(flat, axis=0) - np.log(len(flat)))


def _at_rank(ordered: np.ndarray, rank: float) -> np.ndarray:
    """The value at a rank, from 1, between those of whole ranks on a line."""
    below = int(np.clip(int(rank), 1, len(ordered) - 1))
    share = rank - below
    return (1 - share) * ordered[below - 1] + share * ordered[below]


def _score(by_point: np.ndarray) -> Score:
    num = len(by_point)
    error = by_point.std(ddof=1) / np.sqrt(num) if num > 1 else np.nan
    return Score(float(by_point.mean()), float(error), by_point)


def _checked(
    y_true: Any, y_draws: Any, name: str, least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Values of shape (points,), and draws of shape (draws, points)."""
    y, draws = np.asarray(y_true, np.float64), np.asarray(y_draws, np.float64)
    if y.ndim != 1 or draws.ndim < 2 or draws.shape[-1:] != y.shape or not y.size:
        raise ValueError(
            f"y_true has shape {y.shape} and {name} {draws.shape}; they must be "
            "(points,) and (..., points), with at least one axis of draws. The order "
            f"is (y_true, {name})."
        )
    flat = draws.reshape(-1, y.size)
    for label, values in (("y_true", y), (name, flat)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{label} has {np.sum(~np.isfinite(values))} values that are not "
                "finite: leave these points out, or drop the chain that diverged."
            )
    if len(flat) < least:
        raise ValueError(f"{name} has {len(flat)} draws; at least {least} are needed.")
    return y, flat
