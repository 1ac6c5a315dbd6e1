"""
Conjugate linear regression: the kernel with default settings, minibatches of a NumPyro
model, against the exact posterior.
"""

from functools import partial

import numpy as np
import pytest
from conjugate_regression import PLAIN, data, exact_posterior, model, moments, run

pytestmark = pytest.mark.statistical


@pytest.mark.parametrize("settings", [{}, PLAIN], ids=["default", "plain"])
@pytest.mark.parametrize(("correlation", "limit"), [(0.0, 0.03), (0.5, 0.03)])
def test_moments(correlation, limit, settings):
    """
    N = 10,000, B = 100, 10 columns. Without an anchor chains forget in about 3 passes,
    so 64 chains of 600 draws are more than 4,000 independent ones: the standard error
    is below 0.02 posterior sd for a mean and 1.5 % for an sd. Limits: means 0.1 sd; the
    mean sd ratio of the columns 3 %, and that of each column the same plus 2 standard
    errors of its own.
    """
    one = moments(correlation, **settings)
    print(one)
    error, ratio = np.asarray(one["mean_errors"]), np.asarray(one["sd_ratios"])
    assert np.abs(error).max() < 0.1
    assert abs(ratio.mean() - 1) < limit
    assert np.abs(ratio - 1).max() < limit + 2 * 0.015
    assert abs(one["kinetic_temperature"] - 1) < 0.02
    # Independent columns: a covariance nearly diagonal, all eigenvalues near f = 0.2.
    # Correlated ones: f (1 + 9 * 0.5) along the common direction.
    # Relative to an anchor there is hardly any noise.
    expected = 0.2 * (1 + 9 * correlation)
    if not settings:
        assert one["noise_eigenvalue"] < 0.3 * expected
        return
    assert 0.7 * expected < one["noise_eigenvalue"] < 1.4 * expected


PRIOR = {"prior_sd": 0.05}


def prior_z_score(prior_count):
    """Mean of a coefficient that the prior pulls in, in standard errors from exact."""
    x, y = data(400, 2, 0.0)
    mean, sd = exact_posterior(x, y, **PRIOR)
    biased = partial(model, batch=40, prior_count=prior_count, **PRIOR)
    _, w = run(biased, x, y, 60, 100, 64)
    return np.abs((w.mean(0) - mean) / (sd / 600**0.5)).max()


def test_prior_counts_once():
    """64 chains of 100 draws, at least 600 independent: within 4 standard errors."""
    z = prior_z_score(1.0)
    print("z-score", z)
    assert z < 4


def test_prior_counted_at_every_minibatch_is_seen():
    """The check above fails where the prior counts N / B = 10 times."""
    assert prior_z_score(10.0) > 20
