# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

from typing import Any, NamedTuple

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax import random
from numpyro.infer import MCMC
from numpyro.infer.mcmc import MCMCKernel
from scipy.stats import wasserstein_distance

from numpyro_pl import _convergence
from numpyro_pl._convergence import rank_rhat, summarize_chains, wasserstein1
from numpyro_pl.diagnostics import compare, function_rhat, summarize_rhat

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


def ar1(rng, phi, *shape):
    """Stationary chains of shape (chain, draw, ...), each value N(0, 1)."""
    x = rng.normal(size=shape)
    for t in range(1, shape[1]):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * x[:, t]
    return x


def dataset(x):
    return xr.Dataset({"x": (("chain", "draw", "i"), x)})


def arviz_value(fn, x, **kwargs):
    return fn(dataset(x), **kwargs)["x"].to_numpy()


# ---------------------------------------------------------------------------
# agreement with ArviZ and SciPy


@pytest.mark.parametrize("phi", [-0.7, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("num_draws", [4, 5, 8, 9, 10, 100, 333])
def test_convergence_measures_are_arviz_s(phi, num_draws):
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


def test_convergence_measures_are_arviz_s_with_ties():
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
    monkeypatch.setattr(_convergence, "CHUNK", 150)
    np.testing.assert_allclose(whole, compare({"x": x}, {"x": y}), rtol=1e-12)


values = st.floats(-1e3, 1e3) | st.integers(-3, 3).map(float)


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, st.integers(1, 12), elements=values),
    arrays(float, st.integers(1, 12), elements=values),
)
def test_wasserstein_is_scipy_s(a, b):
    mine = wasserstein1(a[:, None], b[:, None])
    np.testing.assert_allclose(mine, [wasserstein_distance(a, b)], atol=1e-9)


# ---------------------------------------------------------------------------
# compare: exact cases


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


# ---------------------------------------------------------------------------
# compare: statistics


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


# ---------------------------------------------------------------------------
# compare: where draws come from


class Independent(MCMCKernel):
    """Draws without a sampler's compilation, in the shapes of `z`."""

    sample_field = "z"

    def __init__(self, z, model=None):
        self.z, self.model = z, model

    def init(self, rng_key, num_warmup, init_params, model_args, model_kwargs):
        return State(self.z, rng_key)

    def sample(self, state, model_args, model_kwargs):
        key, key_draw = random.split(state.rng_key)
        leaves, treedef = jax.tree.flatten(state.z)
        draw = random.normal(key_draw, (sum(leaf.size for leaf in leaves),))
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = jnp.split(draw, ends)
        z = [v.reshape(leaf.shape) for v, leaf in zip(parts, leaves, strict=True)]
        return State(jax.tree.unflatten(treedef, z), key)


class State(NamedTuple):
    z: Any
    rng_key: jax.Array


def model():
    b = numpyro.sample("b", dist.Normal(0, 1))
    with numpyro.plate("columns", 3):
        numpyro.sample("w", dist.Normal(b, 1))


def run(kernel):
    mcmc = MCMC(
        kernel,
        num_warmup=0,
        num_samples=25,
        num_chains=2,
        chain_method="sequential",
        progress_bar=False,
    )
    mcmc.run(random.key(0))
    return mcmc


@pytest.fixture(scope="module")
def mcmc():
    return run(Independent({"b": jnp.zeros(()), "w": jnp.zeros(3)}, model))


def test_all_sources_give_the_same_table(mcmc):
    draws = {k: np.asarray(v) for k, v in mcmc.get_samples(group_by_chain=True).items()}
    expected = compare(draws, draws)
    assert set(expected.index) == {"b", "w[0]", "w[1]", "w[2]"}
    tree = az.from_numpyro(mcmc)
    data = getattr(tree["posterior"], "dataset", tree["posterior"])
    for source in (mcmc, tree, tree["posterior"], data.transpose()):
        for table in (compare(source, draws), compare(draws, source)):
            np.testing.assert_allclose(
                table.loc[expected.index], expected, rtol=1e-6, atol=1e-9
            )


def test_flat_draws_count_as_one_chain(mcmc):
    flat = {k: np.asarray(v) for k, v in mcmc.get_samples().items()}
    table = compare(flat, mcmc, group_by_chain=False)
    assert table.attrs["shape"] == (1, 50)
    assert table.attrs["shape_ref"] == (2, 25)
    np.testing.assert_allclose(table["mean"], table["mean_ref"], rtol=1e-5)
    one = {k: v[None] for k, v in flat.items()}
    np.testing.assert_array_equal(compare(one, mcmc), table)


def test_only_common_sites_and_those_asked_for():
    x = np.random.default_rng(11).normal(size=(2, 10))
    table = compare({"a": x, "b": x, "c": x}, {"d": x, "c": x, "b": x})
    assert list(table.index) == ["b", "c"]
    assert table.attrs["posterior_only"] == ["a"]
    assert table.attrs["reference_only"] == ["d"]
    assert list(compare({"b": x, "c": x}, {"b": x, "c": x}, "c").index) == ["c"]
    table = compare({"b": x, "c": x}, {"b": x, "c": x}, ["c", "b"])
    assert list(table.index) == ["c", "b"]


def test_whole_numbers_truth_values_and_half_precision():
    rng = np.random.default_rng(12)
    x = rng.integers(0, 5, size=(2, 40))
    table = compare(
        {"i": x, "t": x > 2, "h": jnp.asarray(x, jnp.bfloat16)},
        {"i": x.astype(float), "t": (x > 2) * 1.0, "h": x},
    )
    np.testing.assert_array_equal(table["wasserstein"], 0.0)


def test_draws_that_are_not_finite_are_named():
    x = np.random.default_rng(13).normal(size=(2, 20, 3))
    bad = x.copy()
    bad[0, 3, 0], bad[1, 5, 1] = np.nan, np.inf
    for table in (compare({"x": bad}, {"x": x}), compare({"x": x}, {"x": bad})):
        assert table.attrs["not_finite"] == ["x[0]", "x[1]"]
        assert table[["z_mean", "wasserstein"]].iloc[:2].isna().all(axis=None)
        assert table.loc["x[2]"].notna().all()


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


X = np.zeros((2, 10))


@pytest.mark.parametrize(
    ("posterior", "reference", "kwargs", "error", "match"),
    [
        ({"a": X}, {"b": X}, {}, ValueError, r"\['a'\].*\['b'\]"),
        ({"a": X}, {}, {}, ValueError, "reference holds no sites"),
        ({"a": X}, {"a": X}, {"var_names": "c"}, ValueError, r"\['c'\].*posterior"),
        ({"a": X, "c": X}, {"a": X}, {"var_names": ["c"]}, ValueError, "reference"),
        ({"a": X}, {"a": X}, {"var_names": []}, ValueError, "no site to compare"),
        ({"a": X[..., None]}, {"a": X}, {}, ValueError, r"'a' \(1,\) and \(\)"),
        ({"a": X[0]}, {"a": X}, {}, ValueError, "group_by_chain=False"),
        ({"a": X, "b": X[:, :5]}, {"a": X}, {}, ValueError, "'b'.*group_by_chain"),
        ({"a": X[:, :3]}, {"a": X}, {}, ValueError, "at least 1 chain of 4 draws"),
        ({"a": {"b": X}}, {"a": X}, {}, TypeError, "'a' of the posterior is a dict"),
        ({"a": X}, {"a": X.astype(str)}, {}, TypeError, "real numbers"),
        ({"a": X}, {"a": X + 1j}, {}, TypeError, "real numbers"),
        (X, {"a": X}, {}, TypeError, "posterior is a ndarray"),
        ({"a": X}, xr.Dataset(), {}, ValueError, 'group "posterior"'),
        ({"a": X}, xr.Dataset({"a": (("x", "y"), X)}), {}, ValueError, "dimensions"),
    ],
)
def test_compare_explains_bad_input(posterior, reference, kwargs, error, match):
    with pytest.raises(error, match=match):
        compare(posterior, reference, **kwargs)


def test_compare_explains_sources_without_draws():
    fresh = MCMC(Independent(X), num_warmup=1, num_samples=1, progress_bar=False)
    with pytest.raises(ValueError, match="run"):
        compare(fresh, {"a": X})
    with pytest.raises(TypeError, match="not a dict by site"):
        compare(run(Independent(jnp.zeros(2))), {"a": X})
    tree = xr.DataTree.from_dict({"/prior": xr.Dataset({"a": ("x", X[0])})})
    with pytest.raises(ValueError, match='group "posterior"'):
        compare(tree, {"a": X})
    if "InferenceData" in vars(az):
        tree = az.InferenceData(prior=xr.Dataset({"a": (("chain", "draw"), X)}))
        with pytest.raises(ValueError, match='group "posterior"'):
            compare(tree, {"a": X})


# ---------------------------------------------------------------------------
# function_rhat


def test_function_rhat_is_arviz_s():
    x = ar1(np.random.default_rng(14), 0.5, 3, 60, 4 * 5)
    r_hat = function_rhat(x.reshape(3, 60, 4, 5))
    assert r_hat.shape == (4, 5)
    np.testing.assert_allclose(r_hat.ravel(), arviz_value(az.rhat, x), rtol=1e-9)
    assert function_rhat(x).shape == (20,)


def test_function_rhat_does_not_mind_exchanged_units():
    # Two units that one chain has in the other order: the weights disagree for ever,
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


def test_function_rhat_sees_a_chain_elsewhere():
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
