# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import arviz as az
import numpy as np
import pytest
from arviz_reference import ar1, arviz_value

from numpyro_pl.diagnostics import function_rhat, summarize_rhat


def test_function_rhat_agrees_with_arviz():
    x = ar1(np.random.default_rng(14), 0.5, 3, 60, 4 * 5)
    r_hat = function_rhat(x.reshape(3, 60, 4, 5))
    assert r_hat.shape == (4, 5)
    np.testing.assert_allclose(r_hat.ravel(), arviz_value(az.rhat, x), rtol=1e-9)
    assert function_rhat(x).shape == (20,)


def test_function_rhat_ignores_permuted_units():
    # Two units, swapped in one chain: the weights never agree,
    # the function does not. 1.05 is exceeded by chance far less than once in 10^4.
    rng = np.random.default_rng(15)
    draws = np.array([-2.0, 2.0]) + 0.1 * rng.normal(size=(4, 300, 2))
    draws[3] = draws[3, :, ::-1]
    x = np.linspace(-1, 1, 7)
    predictions = np.tanh(draws[..., None] * x).sum(2)
    assert (function_rhat(draws) > 1.5).all()
    varying = x != 0
    assert (function_rhat(predictions)[varying] < 1.05).all()
    assert np.isnan(function_rhat(predictions)[~varying]).all()


def test_function_rhat_detects_a_chain_elsewhere():
    x = np.random.default_rng(16).normal(size=(4, 200, 6))
    x[2, :, 4] += 3.0
    x[1, :, 5] *= 5.0  # the same place, another width
    r_hat = function_rhat(x)
    assert (r_hat[4:] > 1.1).all()
    assert (r_hat[:4] < 1.03).all()
    drift = np.linspace(0, 3, 200) + x[:1, :, 0]
    assert function_rhat(drift[..., None]) > 1.1


def test_function_rhat_explains_bad_input():
    x = np.zeros((2, 10, 3))
    with pytest.raises(ValueError, match=r"x\[None\]"):
        function_rhat(x[0])
    with pytest.raises(ValueError, match="at least 1 chain of 4 draws"):
        function_rhat(x[:, :3])
    x[1, 4, 2] = np.nan
    with pytest.raises(ValueError, match=r"chains \[1\]"):
        function_rhat(x)


def test_summary_of_r_hat():
    r_hat = np.append(np.arange(1, 101) / 100 + 1, np.nan).reshape(1, -1)
    summary = summarize_rhat(r_hat, quantiles=(0.5, 1.0), threshold=1.25)
    assert summary.max == 2.0
    assert summary.quantiles == {0.5: 1.5, 1.0: 2.0}
    assert summary.fraction_above == 0.75
    assert (summary.num_functions, summary.num_constant) == (100, 1)
    assert summarize_rhat([1.0, 1.1, np.inf]).quantiles[0.5] == 1.1
    with pytest.raises(ValueError, match="none of 3 functions"):
        summarize_rhat(np.full(3, np.nan))
