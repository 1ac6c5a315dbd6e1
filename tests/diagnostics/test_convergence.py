# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import arviz as az
import numpy as np
import pytest
from arviz_reference import ar1, arviz_value
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

from numpyro_pl.diagnostics import compare, convergence
from numpyro_pl.diagnostics.convergence import (
    rank_rhat,
    summarize_chains,
    wasserstein1,
)


@pytest.mark.parametrize("phi", [-0.7, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("num_draws", [4, 5, 8, 9, 10, 100, 333])
def test_convergence_measures_agree_with_arviz(phi, num_draws):
    x = ar1(np.random.default_rng(num_draws), phi, 3, num_draws, 6)
    x[1, :, 5] += 4.0  # a chain in another place
    summary = summarize_chains(x)
    for mine, theirs in [
        (summary.mean, x.mean((0, 1))),
        (summary.sd, x.std((0, 1), ddof=1)),
        (summary.mcse_mean, arviz_value(az.mcse, x)),
        (summary.mcse_sd, arviz_value(az.mcse, x, method="sd")),
        (summary.ess_bulk, arviz_value(az.ess, x)),
        (summary.r_hat, arviz_value(az.rhat, x)),
        (rank_rhat(x), arviz_value(az.rhat, x)),
    ]:
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-12)


def test_convergence_measures_agree_with_arviz_for_ties():
    rng = np.random.default_rng(0)
    x = rng.poisson(2.0, size=(4, 50, 5)).astype(float)
    x[..., 4] = x[..., 4] > 1
    summary = summarize_chains(x)
    np.testing.assert_allclose(summary.ess_bulk, arviz_value(az.ess, x), rtol=1e-7)
    np.testing.assert_allclose(summary.r_hat, arviz_value(az.rhat, x), rtol=1e-7)


def test_chunks_do_not_change_anything(monkeypatch):
    x = ar1(np.random.default_rng(1), 0.5, 2, 30, 11)
    y = ar1(np.random.default_rng(2), 0.5, 3, 21, 11)
    whole = compare({"x": x}, {"x": y})
    monkeypatch.setattr(convergence, "CHUNK", 150)
    np.testing.assert_allclose(whole, compare({"x": x}, {"x": y}), rtol=1e-12)


values = st.floats(-1e3, 1e3) | st.integers(-3, 3).map(float)


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, st.integers(1, 12), elements=values),
    arrays(float, st.integers(1, 12), elements=values),
)
def test_wasserstein_agrees_with_scipy(a, b):
    mine = wasserstein1(a[:, None], b[:, None])
    np.testing.assert_allclose(mine, [wasserstein_distance(a, b)], atol=1e-9)
