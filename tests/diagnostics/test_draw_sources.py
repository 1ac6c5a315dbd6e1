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
from jax import random
from numpyro.infer import MCMC
from numpyro.infer.mcmc import MCMCKernel

from numpyro_pl.diagnostics import compare


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
