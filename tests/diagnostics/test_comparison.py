# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import arviz as az
import numpy as np
import pytest
from arviz_reference import ar1, arviz_value
from scipy.stats import wasserstein_distance

from numpyro_pl.diagnostics import compare

COLUMNS = [
    "mean",
    "mean_ref",
    "sd",
    "sd_ref",
    "mean_diff_sd",
    "z_mean",
    "sd_ratio",
    "z_sd",
    "wasserstein",
    "wasserstein_sd",
    "ess_bulk",
    "ess_bulk_ref",
    "r_hat",
    "r_hat_ref",
]


# ---------------------------------------------------------------------------
# exact cases


def test_columns_and_units():
    rng = np.random.default_rng(3)
    x = 1.0 + 2.0 * ar1(rng, 0.6, 4, 200, 5)
    y = 0.5 * ar1(rng, 0.3, 2, 300, 5)
    table = compare({"x": x}, {"x": y})
    assert list(table.columns) == COLUMNS
    difference = x.mean((0, 1)) - y.mean((0, 1))
    sd, sd_ref = x.std((0, 1), ddof=1), y.std((0, 1), ddof=1)
    error = np.hypot(arviz_value(az.mcse, x), arviz_value(az.mcse, y))
    error_sd = np.hypot(
        arviz_value(az.mcse, x, method="sd"), arviz_value(az.mcse, y, method="sd")
    )
    distance = [
        wasserstein_distance(x[..., i].ravel(), y[..., i].ravel()) for i in range(5)
    ]
    for name, exact in {
        "mean_diff_sd": difference / sd_ref,
        "z_mean": difference / error,
        "sd_ratio": sd / sd_ref,
        "z_sd": (sd - sd_ref) / error_sd,
        "wasserstein": distance,
        "wasserstein_sd": distance / sd_ref,
        "ess_bulk_ref": arviz_value(az.ess, y),
        "r_hat_ref": arviz_value(az.rhat, y),
    }.items():
        np.testing.assert_allclose(table[name], exact, rtol=1e-7, err_msg=name)


def test_gaussians_with_known_moments():
    # N(0.5, 1) against N(0, 2). Each bound is 4 standard errors of 40,000 and 20,000
    # independent draws: a false alarm once in 16,000, the key being fixed anyway.
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.5, 1.0, (4, 10000)), rng.normal(0.0, 2.0, (2, 10000))
    row = compare({"x": a}, {"x": b}).loc["x"]
    error = np.sqrt(1 / 40000 + 4 / 20000)
    assert abs(row["mean_diff_sd"] - 0.25) < 4 * error / 2
    assert abs(row["z_mean"] - 0.5 / error) < 4
    assert abs(row["sd_ratio"] - 0.5) < 4 * 0.5 * np.sqrt(1 / 80000 + 1 / 40000)


def test_wasserstein_of_a_shift_is_the_shift():
    x = np.random.default_rng(5).normal(size=(2, 500, 3))
    shift = np.array([0.5, -3.0, 0.0])
    table = compare({"x": x + shift}, {"x": x})
    np.testing.assert_allclose(table["wasserstein"], np.abs(shift), atol=1e-12)
    np.testing.assert_allclose(table["mean"] - table["mean_ref"], shift, atol=1e-12)
    np.testing.assert_allclose(table["sd_ratio"], 1.0, atol=1e-12)


def test_a_posterior_equals_itself():
    x = {"x": np.random.default_rng(6).normal(size=(2, 50, 3))}
    table = compare(x, x)
    for name, exact in {
        "z_mean": 0.0,
        "z_sd": 0.0,
        "wasserstein": 0.0,
        "sd_ratio": 1.0,
    }.items():
        np.testing.assert_array_equal(table[name], exact)


def test_every_scalar_has_its_own_name():
    offset = np.arange(6.0).reshape(2, 3)
    noise = np.random.default_rng(7).normal(size=(2, 20, 2, 3)) * 1e-3
    draws = {"w": noise + offset, "b": noise[..., 0, 0] - 1.0}
    table = compare(draws, draws)
    assert list(table.index) == ["w[0,0]", "w[0,1]", "w[0,2]"] + [
        "w[1,0]",
        "w[1,1]",
        "w[1,2]",
        "b",
    ]
    np.testing.assert_allclose(table["mean"], [0, 1, 2, 3, 4, 5, -1], atol=2e-3)


def test_constant_parameters():
    # 0.1 has a mean that is off by rounding, which must not pass for a spread.
    same, other = np.full((2, 30), 0.1), np.full((3, 41), 0.1)
    row = compare({"x": same}, {"x": other}).loc["x"]
    assert row["z_mean"] == row["z_sd"] == row["wasserstein_sd"] == 0.0
    assert row["sd"] == 0.0
    assert row["sd_ratio"] == 1.0
    # All draws, but for the middle one of each odd chain.
    assert (row["ess_bulk"], row["ess_bulk_ref"]) == (60, 120)
    assert np.isnan(row["r_hat"])
    row = compare({"x": same}, {"x": other + 1}).loc["x"]
    assert row["z_mean"] == row["mean_diff_sd"] == -np.inf
    assert row["wasserstein"] == pytest.approx(1.0)


# ---------------------------------------------------------------------------
# statistics


@pytest.mark.parametrize(("phi", "phi_ref"), [(0.0, 0.0), (0.8, 0.0), (0.8, 0.9)])
def test_z_is_standard_normal_where_posteriors_are_the_same(phi, phi_ref):
    # 600 pairs of chains of the same distribution. The sd of 600 standard normal values
    # is within 12 % of 1 but once in 30,000; the rest of the band is for the error of
    # the effective sample sizes. The mean is within 4.5 standard errors: 1.5e5 to 1,
    # less for z_sd, as correlated draws have too small an sd, by about 0.05 errors.
    rng = np.random.default_rng(8)
    x, y = ar1(rng, phi, 4, 500, 600), ar1(rng, phi_ref, 4, 800, 600)
    table = compare({"x": x}, {"x": y})
    for name in ("z_mean", "z_sd"):
        z = table[name]
        assert 0.8 < z.std() < 1.25, name
        assert abs(z.mean()) < 4.5 * z.std() / np.sqrt(600), name


def test_noise_floor_of_wasserstein():
    # The mean over 300 pairs, whose sd is 0.3 of it, is within 4 * 0.3 / sqrt(300) =
    # 7 % of the asymptotic value that the docstring gives; 3 % more for finite draws.
    rng = np.random.default_rng(9)
    x, y = ar1(rng, 0.0, 2, 500, 300), ar1(rng, 0.0, 2, 1000, 300)
    table = compare({"x": x}, {"x": y})
    floor = 1.29 * np.sqrt(1 / table["ess_bulk"] + 1 / table["ess_bulk_ref"])
    assert abs((table["wasserstein_sd"] / floor).mean() - 1.0) < 0.1


def test_a_chain_elsewhere_shows_in_r_hat_and_widens_the_error():
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(4, 500)), rng.normal(size=(4, 500))
    x[3] += 5.0
    row = compare({"x": x}, {"x": y}).loc["x"]
    assert row["r_hat"] > 1.1
    assert row["r_hat_ref"] < 1.01
    assert row["ess_bulk"] < 10
    # The mean is 1.25 sd off, by 40 standard errors if all draws were independent.
    assert abs(row["z_mean"]) < 3
