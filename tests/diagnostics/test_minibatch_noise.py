# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Normality of minibatch noise, and how far chains travel, against exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_models import linear_model

from numpyro_pl.diagnostics import (
    minibatch_noise,
    noise_normality,
    squared_distance,
)

BATCH = 20


def cumulants_of_rows(x, y, w):
    """Skewness and excess kurtosis of the gradient of one row, for each coefficient."""
    rows = np.asarray(x, np.float64) * np.asarray(x @ w - y, np.float64)[:, None]
    z = (rows - rows.mean(0)) / rows.std(0)
    return (z**3).mean(0), (z**4).mean(0) - 3


@pytest.mark.parametrize("outlier", [0.0, 1000.0])
def test_noise_of_a_linear_regression(regression, outlier):
    """
    Rows are drawn independently: skewness is that of a row over sqrt(B), excess
    kurtosis over B. 2 groups of 2 numbers within 4.5 standard errors.
    """
    x, y = regression
    y = y.at[7].add(outlier)
    w = jnp.array([0.9, 0.1, -1.0])
    noise = minibatch_noise(
        linear_model, {"w": w}, jax.random.key(0), x, y, BATCH, num_batches=20_000
    )
    assert noise["w"].shape == (20_000, 3)
    np.testing.assert_allclose(noise["w"].std(0), 1.0)
    skewness, kurtosis = cumulants_of_rows(x, y, w)
    table = noise_normality(noise).loc["w"]
    print(table, skewness.mean() / BATCH**0.5, kurtosis.mean() / BATCH)
    off = table.skewness - skewness.mean() / BATCH**0.5
    assert abs(off) < 4.5 * table.skewness_se
    off = table.excess_kurtosis - kurtosis.mean() / BATCH
    assert abs(off) < 4.5 * table.excess_kurtosis_se
    assert (table.excess_kurtosis > 10) == (outlier > 0)
    assert table.excess_kurtosis_se < 0.1 * (1 + kurtosis.mean() / BATCH)


def test_normal_numbers_are_normal():
    """Standard errors of theory: sqrt(6 / n) and sqrt(24 / n) for n numbers."""
    x = np.random.default_rng(0).normal(size=(4000, 25))
    table = noise_normality({"all": x, "none": x[:, :0]})
    one = table.loc["all"]
    assert abs(one.skewness) < 4 * one.skewness_se
    assert abs(one.excess_kurtosis) < 4 * one.excess_kurtosis_se
    assert one.skewness_se == pytest.approx((6 / x.size) ** 0.5, rel=0.5)
    assert one.excess_kurtosis_se == pytest.approx((24 / x.size) ** 0.5, rel=0.5)
    assert np.isnan(table.loc["none"].skewness)
    assert table.loc["none"].coordinates == 0


def test_coordinates_are_chosen_and_those_without_noise_left_out(regression):
    x, y = regression
    x = x.at[:, 1].set(0.0)

    def noise(most):
        w = {"w": jnp.ones(3)}
        return minibatch_noise(
            linear_model,
            w,
            jax.random.key(0),
            x,
            y,
            num_batches=40,
            max_coordinates=most,
        )["w"]

    assert noise(3).shape == (40, 2)
    assert noise(1).shape[1] <= 1


def test_noise_of_what_has_none(regression):
    x, y = regression
    key, w = jax.random.key(0), {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match="no subsampled plate"):
        minibatch_noise(linear_model, w, key, x, y, batch=600)
    with pytest.raises(ValueError, match=r"the sites \['w'\], got \['v'\]"):
        minibatch_noise(linear_model, {"v": w["w"]}, key, x, y)
    with pytest.raises(ValueError, match="num_batches must be 40 or more"):
        minibatch_noise(linear_model, w, key, x, y, num_batches=10)
    with pytest.raises(ValueError, match="at least 40 minibatches"):
        noise_normality({"w": np.zeros((10, 3))})


def test_squared_distance():
    a = np.arange(10.0).reshape(2, 5)
    draws = {"a": a, "b": np.stack([a, 2 * a], -1)}
    expected = 6.0 * np.arange(5.0) ** 2
    np.testing.assert_allclose(squared_distance(draws), [expected, expected])


def test_squared_distance_of_stationary_draws():
    """Twice the sum of the variances; the distance of 50 coordinates, 4 s.e."""
    x = np.random.default_rng(0).normal(size=(40, 200, 50)).astype(np.float32)
    found = squared_distance({"x": x})[:, 1:].mean(1)
    assert abs(found.mean() - 100) < 4 * found.std() / 40**0.5
