# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A regression on columns as they were measured, of standard deviations from 0.1 to 16,000
and far from zero, with default settings. Its posterior is known; NUTS, with as long a
warmup, has an R-hat of 3.9 there.
"""

import jax
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC
from unusual_models import UNUSUAL

from numpyro_pl import PseudoLangevin

pytestmark = pytest.mark.statistical


def least_squares(x, y):
    """Mean and standard deviation of the coefficients: the priors are wide."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1).astype(np.float64)
    mean, squares, *_ = np.linalg.lstsq(x, y.astype(np.float64), rcond=None)
    variance = squares[0] / (len(y) - x.shape[1])
    return mean, np.sqrt(variance * np.diagonal(np.linalg.inv(x.T @ x)))


def test_columns_as_measured():
    """
    Means within 5 standard errors, standard deviations within 5 of theirs, and 0.02 of
    a standard deviation for the bias: a false alarm in 100,000 runs. It warns of the
    columns, and of nothing else. Without whitened coordinates chains are 100 away.
    """
    problem = UNUSUAL["as_measured"]()
    mean, sd = least_squares(*map(np.asarray, problem.args))
    mcmc = MCMC(
        PseudoLangevin(problem.minibatch),
        num_warmup=1000,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    with pytest.warns(UserWarning, match="Standardize them"):
        mcmc.run(jax.random.key(0), *problem.args, extra_fields=("diverging",))
    assert not mcmc.get_extra_fields()["diverging"].any()
    draws = mcmc.get_samples(group_by_chain=True)
    draws = np.concatenate([draws["w"], draws["b"][..., None]], -1).astype(np.float64)
    error = 1 / np.sqrt(effective_sample_size(draws))
    off, ratio = (draws.mean((0, 1)) - mean) / sd, draws.std((0, 1)) / sd
    print("off", off, "ratio of sd", ratio, "standard error", error)
    assert (error < 0.03).all()
    assert (np.abs(off) < 5 * error + 0.02).all()
    assert (np.abs(ratio - 1) < 5 * error / np.sqrt(2) + 0.02).all()
