# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Convergence measures of many scalars at once.

ArviZ computes the same measures one scalar at a time, which takes longer
(`tests/benchmarks/bench_diagnostics.py` prints by how much). Here all scalars share one
sort and one Fourier transform, in chunks that bound the memory. ArviZ is not imported,
so the results do not depend on its version.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import fft
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = [
    "MIN_DRAWS",
    "ChainSummary",
    "ess_within_chains",
    "rank_rhat",
    "summarize_chains",
    "wasserstein1",
]

Array = np.ndarray[Any, Any]

MIN_DRAWS = 4
"""Fewest draws per chain: each half of a chain needs a variance."""

CHUNK = 1 << 21
"""Draws processed at a time: 16 MiB in double precision, in a few such arrays."""


class ChainSummary(NamedTuple):
    """
    Moments and convergence measures, each an array of shape (scalars,), all NaN for a
    scalar with a draw that is not finite.

    - **mean**, **sd** - over all chains and draws.
    - **mcse_mean**, **mcse_sd** - Monte Carlo standard errors of the two.
    - **ess_bulk** - effective sample size of the rank-normalized draws.
    - **r_hat** - rank-normalized split R-hat.
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

    The Monte Carlo errors use effective sample sizes that include the variance between
    chains, so chains that disagree widen them.

    :param draws: array of shape (chain, draw, scalars).
    :return: a :class:`ChainSummary`.
    """
    columns = _over_scalars(_summarize, draws)
    return ChainSummary(*columns)


def rank_rhat(draws: Array) -> Array:
    """
    Rank-normalized split R-hat of every scalar: the larger of the R-hat for location
    and the R-hat for scale, which is that of the draws folded around the median.

    **References:**

    1. *Rank-normalization, folding, and localization: an improved R-hat*, A. Vehtari,
       A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner (2021), arXiv:1903.08008.

    :param draws: array of shape (chain, draw, scalars).
    :return: array of shape (scalars,), NaN for a scalar whose draws are all equal or
        not all finite.
    """
    (r_hat,) = _over_scalars(lambda x: (_rank_rhat(_split(x))[0],), draws)
    return r_hat


def ess_within_chains(draws: Array) -> Array:
    """
    Effective sample size of the rank-normalized draws, of all chains together, from
    autocorrelations within chains alone: unlike `ess_bulk` it does not fall where
    chains are in different places, and so tells slow chains from separate ones.

    :param draws: array of shape (chain, draw, scalars).
    :return: array of shape (scalars,), NaN for a scalar with a draw that is not finite.
    """

    def within(x):
        scores = _normal_scores(x)
        scores -= scores.mean(-1, keepdims=True)
        # One chain has no variance of means: count it twice.
        twice = scores.shape[1] == 1
        scores = np.concatenate([scores, scores], 1) if twice else scores
        return (_effective_sample_size(scores) / (2 if twice else 1),)

    (found,) = _over_scalars(within, draws)
    return found


def wasserstein1(a: Array, b: Array) -> Array:
    """
    Wasserstein-1 distance between the two empirical distributions of every scalar: the
    area between their quantile functions, exact for any two numbers of draws.

    :param a: array of shape (draws_a, scalars).
    :param b: array of shape (draws_b, scalars).
    :return: array of shape (scalars,), in the units of the draws; NaN for a scalar with
        a draw that is not finite.
    """
    num_a, num_b = a.shape[0], b.shape[0]
    # The quantile functions step at i / num_a and j / num_b. In units of
    # 1 / (num_a num_b) these are whole numbers, free of rounding errors.
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
    # The computed mean of equal numbers can have a rounding error, which would look
    # like a nonzero variance.
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
    """(scalars, chain, draw) to (scalars, 2 chain, draw // 2); drops a middle draw."""
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], x[..., -half:]], axis=1)


def _normal_scores(x: Array) -> Array:
    """Normal quantiles of the ranks among all draws of a scalar, ties averaged."""
    rows = x.reshape(x.shape[0], -1)
    num = rows.shape[1]
    twice_rank = (2 * rankdata(rows, axis=-1)).astype(np.int64)
    # Averaged ranks are multiples of a half: look quantiles up in a table instead of
    # computing one for every draw.
    table = ndtri((np.arange(2, 2 * num + 1) / 2 - 0.375) / (num + 0.25))
    return table[twice_rank - 2].reshape(x.shape)


def _rhat(x: Array) -> Array:
    num_draws = x.shape[-1]
    within = x.var(-1, ddof=1).mean(-1)
    between = x.mean(-1).var(-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(between / within + (num_draws - 1) / num_draws)


def _rank_rhat(split: Array) -> tuple[Array, Array]:
    """R-hat, and the normal scores that it is computed from, of split chains."""
    scores = _normal_scores(split)
    median = np.median(split.reshape(split.shape[0], -1), axis=-1)
    folded = np.abs(split - median[:, None, None])
    # Folding makes a symmetric two-valued scalar constant, with R-hat NaN: fmax then
    # returns the one for location.
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
    # The autocovariance is linear in the power spectrum, so one inverse transform of
    # the mean over chains is enough.
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(1)
    autocovariance = fft.irfft(power, n=padded, axis=-1)[:, :num_draws] / num_draws

    within = autocovariance[:, :1] * num_draws / (num_draws - 1)
    spread = autocovariance[:, :1] + means.var(-1, ddof=1)[:, None]
    constant = spread[:, 0] <= 0
    spread[constant] = 1.0
    correlation = 1.0 - (within - autocovariance) / spread
    correlation[:, 0] = 1.0

    time = _autocorrelation_time(correlation)
    # Antithetic chains can beat independent draws; like Stan and ArviZ, cap the gain.
    time = np.maximum(time, 1.0 / np.log10(total))
    return np.where(constant, float(total), total / time)


def _autocorrelation_time(correlation: Array) -> Array:
    """
    Integrated autocorrelation time, in draws, by the initial monotone sequence.

    :param correlation: autocorrelations by lag, of shape (scalars, lags).
    :return: array of shape (scalars,).
    """
    # In theory the sums of an even lag and the next are positive and decreasing. The
    # sum stops before the first that is not positive, and none may exceed an earlier
    # one.
    last = max(0, (correlation.shape[1] - 3) // 2)
    even = correlation[:, 0 : 2 * last + 1 : 2]
    pairs = even + correlation[:, 1 : 2 * last + 2 : 2]
    positive = pairs > 0
    stop = np.where(positive.all(-1), last, np.argmin(positive, axis=-1))
    kept = np.arange(last + 1) < stop[:, None]
    rows = np.arange(len(correlation))
    tail, tail_pair = even[rows, stop], pairs[rows, stop]
    tail = np.where((tail > 0) | (tail_pair >= 0), tail, 0.0)
    monotone = np.minimum.accumulate(pairs, axis=-1)
    return -1.0 + 2.0 * np.sum(monotone, axis=-1, where=kept) + tail
