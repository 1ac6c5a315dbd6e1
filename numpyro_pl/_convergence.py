# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Convergence measures of many scalars at once.

ArviZ computes the same measures one scalar at a time, which takes several times as
long. Here all scalars go through one sort and one Fourier transform, in chunks that
bound the memory, and no name of ArviZ is used, so that its versions 0.2x and 1.x give
the same figures.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import fft
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = ["MIN_DRAWS", "ChainSummary", "rank_rhat", "summarize_chains", "wasserstein1"]

Array = np.ndarray[Any, Any]

MIN_DRAWS = 4
"""Each half of a chain needs a variance."""

CHUNK = 1 << 21
"""Draws worked on at a time: 16 MiB in double precision, a few such arrays at once."""


class ChainSummary(NamedTuple):
    """
    Moments and convergence measures, each an array with one value per scalar. Scalars
    with a draw that is not finite have NaN everywhere.

    - **mean**, **sd** - over all chains and draws.
    - **mcse_mean**, **mcse_sd** - Monte Carlo standard errors of the two.
    - **ess_bulk** - effective sample size of the rank-normalised draws.
    - **r_hat** - rank-normalised split R-hat.
    """

    mean: Array
    sd: Array
    mcse_mean: Array
    mcse_sd: Array
    ess_bulk: Array
    r_hat: Array


def summarize_chains(draws: Array) -> ChainSummary:
    """
    Moments, Monte Carlo errors, bulk effective sample size and R-hat of every scalar.

    The errors of mean and sd divide by effective sample sizes that count the spread
    between chains, so that chains in different places widen them.

    :param draws: array of shape (chain, draw, scalars).
    """
    columns = _over_scalars(_summarize, draws)
    return ChainSummary(*columns)


def rank_rhat(draws: Array) -> Array:
    """
    Rank-normalised split R-hat of every scalar: the larger of the one for location
    and, folded around the median, the one for scale.

    **References:**

    1. *Rank-normalization, folding, and localization: an improved R-hat*, A. Vehtari,
       A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner (2021), arXiv:1903.08008.

    :param draws: array of shape (chain, draw, scalars).
    :return: array of shape (scalars,), NaN for a scalar that is the same in all draws
        or not finite in some.
    """
    (r_hat,) = _over_scalars(lambda x: (_rank_rhat(_split(x))[0],), draws)
    return r_hat


def wasserstein1(a: Array, b: Array) -> Array:
    """
    Wasserstein-1 distance between the two empirical distributions of every scalar: the
    area between their quantile functions, exact also for unequal numbers of draws.

    :param a: array of shape (draws, scalars).
    :param b: array of shape (other draws, scalars).
    :return: array of shape (scalars,).
    """
    num_a, num_b = a.shape[0], b.shape[0]
    # Quantile functions are steps at i / num_a and j / num_b: whole numbers in units of
    # 1 / (num_a num_b), so that no step is lost to rounding.
    steps = np.union1d(
        np.arange(num_a + 1, dtype=np.int64) * num_b,
        np.arange(num_b + 1, dtype=np.int64) * num_a,
    )
    widths = np.diff(steps) / (num_a * num_b)
    rows_a, rows_b = steps[:-1] // num_b, steps[:-1] // num_a
    out = np.empty(a.shape[1])
    size = max(1, CHUNK // (num_a + num_b))
    for start in range(0, a.shape[1], size):
        part = slice(start, start + size)
        sorted_a = np.sort(a[:, part].astype(np.float64).T)
        sorted_b = np.sort(b[:, part].astype(np.float64).T)
        bad = ~(np.isfinite(sorted_a).all(-1) & np.isfinite(sorted_b).all(-1))
        sorted_a[bad], sorted_b[bad] = 0.0, 0.0
        distance = np.abs(sorted_a[:, rows_a] - sorted_b[:, rows_b]) @ widths
        distance[bad] = np.nan
        out[part] = distance
    return out


def _over_scalars(fn: Callable[[Array], tuple], draws: Array) -> list[Array]:
    """Apply `fn` to (scalars, chain, draw) chunks; NaN where a draw is not finite."""
    num_chains, num_draws, num_scalars = draws.shape
    size = max(1, CHUNK // (num_chains * num_draws))
    parts = []
    for start in range(0, max(num_scalars, 1), size):
        chunk = draws[:, :, start : start + size].astype(np.float64)
        chunk = np.ascontiguousarray(np.moveaxis(chunk, -1, 0))
        bad = ~np.isfinite(chunk).all(axis=(1, 2))
        chunk[bad] = 0.0
        columns = fn(chunk)
        for column in columns:
            column[bad] = np.nan
        parts.append(columns)
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _summarize(x: Array) -> tuple[Array, ...]:
    rows = x.reshape(x.shape[0], -1)
    constant = rows.min(-1) == rows.max(-1)
    # The mean of equal numbers can be off by a rounding error, which would pass for a
    # spread.
    mean = np.where(constant, rows[:, 0], rows.mean(-1))
    deviation = x - mean[:, None, None]
    square = np.square(deviation)
    variance = square.mean((1, 2))
    sd = np.sqrt(square.sum((1, 2)) / (rows.shape[1] - 1))
    fourth = np.square(square).mean((1, 2))

    r_hat, scores = _rank_rhat(_split(x))
    ess_bulk = _effective_sample_size(scores)
    mcse_mean = sd / np.sqrt(_effective_sample_size(_split(deviation)))
    spread = (fourth - np.square(variance)) / _effective_sample_size(_split(square))
    # d sd = d variance / (2 sd)
    mcse_sd = np.sqrt(np.maximum(spread, 0.0) / np.where(constant, 1.0, variance)) / 2
    return mean, sd, mcse_mean, mcse_sd, ess_bulk, r_hat


def _split(x: Array) -> Array:
    """(scalars, chain, draw) to (scalars, 2 chain, draw // 2); odd draws lose one."""
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], x[..., -half:]], axis=1)


def _normal_scores(x: Array) -> Array:
    """Normal quantiles of the ranks among all draws of a scalar, ties averaged."""
    rows = x.reshape(x.shape[0], -1)
    num = rows.shape[1]
    twice_rank = (2 * rankdata(rows, axis=-1)).astype(np.int64)
    # Averaged ranks are multiples of a half: a table spares a quantile for every draw.
    table = ndtri((np.arange(2, 2 * num + 1) / 2 - 0.375) / (num + 0.25))
    return table[twice_rank - 2].reshape(x.shape)


def _rhat(x: Array) -> Array:
    num_draws = x.shape[-1]
    within = x.var(-1, ddof=1).mean(-1)
    between = x.mean(-1).var(-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(between / within + (num_draws - 1) / num_draws)


def _rank_rhat(split: Array) -> tuple[Array, Array]:
    """R-hat and the normal scores of split chains."""
    scores = _normal_scores(split)
    median = np.median(split.reshape(split.shape[0], -1), axis=-1)
    folded = np.abs(split - median[:, None, None])
    # A symmetric two-valued scalar is constant when folded: only its location counts.
    return np.fmax(_rhat(scores), _rhat(_normal_scores(folded))), scores


def _effective_sample_size(x: Array) -> Array:
    """
    Effective sample size from autocorrelations averaged over chains, truncated by
    Geyer's initial monotone sequence, as in arXiv:1903.08008.

    :param x: array of shape (scalars, chain, draw).
    """
    _, num_chains, num_draws = x.shape
    total = num_chains * num_draws
    means = x.mean(-1)
    padded = fft.next_fast_len(2 * num_draws, real=True)
    spectrum = fft.rfft(x - means[..., None], n=padded, axis=-1)
    # Autocovariance is linear in the power: one inverse transform serves all chains.
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(1)
    autocovariance = fft.irfft(power, n=padded, axis=-1)[:, :num_draws] / num_draws

    within = autocovariance[:, :1] * num_draws / (num_draws - 1)
    spread = autocovariance[:, :1] + means.var(-1, ddof=1)[:, None]
    constant = spread[:, 0] <= 0
    spread[constant] = 1.0
    correlation = 1.0 - (within - autocovariance) / spread
    correlation[:, 0] = 1.0

    # Pairs of an even and the next odd lag are positive and fall, in theory: the sum
    # stops before the first that is not positive, and none may exceed the one before.
    last = max(0, (num_draws - 3) // 2)
    even = correlation[:, 0 : 2 * last + 1 : 2]
    pairs = even + correlation[:, 1 : 2 * last + 2 : 2]
    positive = pairs > 0
    stop = np.where(positive.all(-1), last, np.argmin(positive, axis=-1))
    kept = np.arange(last + 1) < stop[:, None]
    rows = np.arange(x.shape[0])
    tail, tail_pair = even[rows, stop], pairs[rows, stop]
    tail = np.where((tail > 0) | (tail_pair >= 0), tail, 0.0)
    monotone = np.minimum.accumulate(pairs, axis=-1)
    time = -1.0 + 2.0 * np.sum(monotone, axis=-1, where=kept) + tail
    # Antithetic chains beat independent draws, but by no more than this much.
    time = np.maximum(time, 1.0 / np.log10(total))
    return np.where(constant, float(total), total / time)
