# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Quantile regression: the log density of a row is linear up to a kink, and the Hessian of
any number of rows says that coefficients are as free as their prior.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from everyday_models import rows, vector
from jax import random
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from ordinary_models import rows_of

from numpyro_pl import PseudoLangevin

pytestmark = pytest.mark.statistical


def model(x, y, batch=None):
    w = vector("w", 5, x.shape[1])
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("data", len(y), subsample_size=batch):
        xb, yb = rows_of(x, y)
        errors = dist.AsymmetricLaplaceQuantile(xb @ w, sigma, 0.8)
        numpyro.sample("y", errors, obs=yb)


def draws_of(kernel, num_warmup, args):
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=500,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(random.key(0), *args)
    draws = mcmc.get_samples(group_by_chain=True)
    return np.concatenate([draws["w"], draws["sigma"][..., None]], -1).astype(float)


def test_coefficients_of_a_quantile():
    """
    Default settings, four chains: every mean within 4 standard errors of NUTS (five
    numbers: a false alarm in 3,000), every standard deviation within 10 %, and more
    than 200 effective draws of 2,000. Without the curvature from the gradients of rows
    the scale has 2, and the R-hat of the scale is above 10.
    """
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(4000), rng.normal(size=(4000, 3))])
    y = x @ [2.0, 1.0, -1.0, 0.0] + 0.1 * rng.laplace(size=4000)
    args = rows(x, y)
    nuts = draws_of(NUTS(model), 500, args)
    ours = draws_of(PseudoLangevin(lambda *args: model(*args, batch=100)), 300, args)
    ess, of_nuts = (np.asarray(effective_sample_size(d)) for d in (ours, nuts))
    assert (ess > 200).all(), ess
    assert (np.asarray(split_gelman_rubin(ours)) < 1.05).all()
    off = (ours.mean((0, 1)) - nuts.mean((0, 1))) / nuts.std((0, 1))
    assert (np.abs(off) < 4 * np.sqrt(1 / ess + 1 / of_nuts)).all(), off
    ratios = ours.std((0, 1)) / nuts.std((0, 1))
    assert (np.abs(ratios - 1) < 0.1).all(), ratios
