# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Scores of regression against closed forms, from draws of known distributions."""

import numpy as np
import pytest
from scipy.stats import norm

from numpyro_pl.diagnostics import crps, interval_coverage, log_predictive_density

RNG = np.random.default_rng(0)
POINTS = np.array([-3.0, -0.5, 0.0, 1.0, 2.5])


def normal_crps(y, mean, sd):
    """Gneiting and Raftery (2007), eq. 21."""
    z = (y - mean) / sd
    return sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def test_crps_of_a_normal_distribution():
    """Within 5 standard errors of the mean over 400 independent sets of 50 draws, at
    each of 5 points: a false alarm in 3 of a million runs."""
    mean, sd = 0.3, 1.7
    sets = RNG.normal(mean, sd, size=(400, 50, len(POINTS)))
    found = np.array([crps(POINTS, draws).by_point for draws in sets])
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert error.max() < 0.02
    exact = normal_crps(POINTS, mean, sd)
    assert (np.abs(found.mean(0) - exact) < 5 * error).all()


def test_crps_is_the_mean_over_all_pairs():
    draws = RNG.normal(size=(2, 7, 3))
    flat = draws.reshape(14, 3)
    y = np.array([0.1, -2.0, 0.5])
    pairs = np.abs(flat[:, None] - flat[None]).sum((0, 1)) / (14 * 13)
    expected = np.abs(flat - y).mean(0) - pairs / 2
    score = crps(y, draws)
    np.testing.assert_allclose(score.by_point, expected, rtol=1e-12)
    assert score.mean == pytest.approx(expected.mean())
    assert score.standard_error == pytest.approx(expected.std(ddof=1) / np.sqrt(3))


def test_crps_of_a_certain_prediction_is_the_absolute_error():
    score = crps([1.0, -2.0], np.full((5, 2), 3.0))
    np.testing.assert_allclose(score.by_point, [2.0, 5.0])


@pytest.mark.parametrize(("num_draws", "prob"), [(39, 0.9), (24, 0.5), (400, 0.95)])
def test_coverage_of_the_right_model(num_draws, prob):
    """Exact for any number of draws: within 5 binomial standard errors."""
    num = 20_000
    y, draws = RNG.normal(size=num), RNG.normal(size=(num_draws, num))
    score = interval_coverage(y, draws, prob)
    assert score.standard_error == pytest.approx(
        np.sqrt(prob * (1 - prob) / num), rel=0.1
    )
    assert abs(score.mean - prob) < 5 * np.sqrt(prob * (1 - prob) / num)


def test_coverage_of_a_wrong_model():
    """Predictions of half the spread: closed form."""
    num = 20_000
    y, draws = RNG.normal(size=num), RNG.normal(scale=0.5, size=(999, num))
    exact = 2 * norm.cdf(0.5 * norm.ppf(0.95)) - 1
    assert abs(interval_coverage(y, draws, 0.9).mean - exact) < 0.02


def test_log_predictive_density_of_a_normal_mean():
    """Draws of the mean from N(0, 1) and noise N(0, 1): y is N(0, 2)."""
    means = RNG.normal(size=(4, 5000, 1))
    score = log_predictive_density(norm.logpdf(POINTS, means, 1.0))
    exact = norm.logpdf(POINTS, 0, np.sqrt(2))
    # The relative error of a mean of 20,000 likelihoods, by the delta method.
    likelihood = norm.pdf(POINTS, means, 1.0).reshape(-1, 5)
    error = likelihood.std(0) / likelihood.mean(0) / np.sqrt(len(likelihood))
    assert (np.abs(score.by_point - exact) < 5 * error).all()
    assert score.mean == pytest.approx(score.by_point.mean())


def test_bad_input_is_named():
    y, draws = np.zeros(3), np.zeros((10, 3))
    with pytest.raises(ValueError, match=r"order is \(y_true, y_draws\)"):
        crps(draws, y)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        crps(y, draws[:1])
    with pytest.raises(ValueError, match="y_draws has 1 values that are not finite"):
        crps(y, np.where(np.arange(30).reshape(10, 3) == 4, np.nan, draws))
    with pytest.raises(ValueError, match="at least 19 draws"):
        interval_coverage(y, draws, 0.9)
    with pytest.raises(ValueError, match="axis of draws"):
        log_predictive_density(y)
    with pytest.raises(ValueError, match="NaN or infinite"):
        log_predictive_density(np.full((2, 3), np.nan))
