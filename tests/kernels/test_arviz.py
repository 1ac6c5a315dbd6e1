"""Draws in ArviZ and Predictive, on ArviZ 0.2x and 1.x."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from numpyro.infer import MCMC, Predictive, log_likelihood

from numpyro_pl import PseudoLangevin
from numpyro_pl.model.full_data import FullDataModel


def model(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=50):
        xb = numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


@pytest.fixture(scope="module")
def mcmc(regression):
    mcmc = MCMC(
        PseudoLangevin(model),
        num_warmup=150,
        num_samples=100,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("potential_energy", "kinetic_temperature", "noise_fraction")
    mcmc.run(jax.random.key(0), *regression, extra_fields=fields)
    return mcmc


def test_from_numpyro_holds_all_of_the_data(mcmc, regression):
    x, y = regression
    data = az.from_numpyro(mcmc, log_likelihood=True)
    assert data.posterior["w"].shape == (2, 100, 3)
    np.testing.assert_array_equal(data.observed_data["y"].values, y)
    values = data.log_likelihood["y"].values
    assert values.shape == (2, 100, 600)
    w = mcmc.get_samples(group_by_chain=True)["w"]
    exact = dist.Normal(jnp.einsum("cdk,nk->cdn", w, x), 1.0).log_prob(y)
    np.testing.assert_allclose(values, exact, rtol=1e-4, atol=1e-4)


def test_sample_stats(mcmc):
    stats = az.from_numpyro(mcmc, log_likelihood=False).sample_stats
    for name in ("lp", "kinetic_temperature", "noise_fraction", "diverging"):
        assert stats[name].shape == (2, 100)
    energy = mcmc.get_extra_fields(group_by_chain=True)["potential_energy"]
    np.testing.assert_array_equal(stats["lp"].values, -np.asarray(energy))


@pytest.mark.filterwarnings("ignore:Estimated shape parameter:UserWarning")
def test_loo_is_that_of_the_exact_posterior(mcmc, regression):
    """LOO from 200 draws within 3 of its value from exact posterior draws."""
    x, y = regression
    loo = az.loo(az.from_numpyro(mcmc, log_likelihood=True))
    precision = np.asarray(x.T @ x) + np.eye(3)
    mean = np.linalg.solve(precision, np.asarray(x.T @ y))
    draws = np.random.default_rng(0).multivariate_normal(
        mean, np.linalg.inv(precision), size=1000
    )
    ll = log_likelihood(FullDataModel(model), {"w": jnp.asarray(draws)}, x, y)["y"]
    exact = -np.sum(np.log(np.mean(np.exp(-np.asarray(ll, np.float64)), 0)))
    value = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    assert abs(float(value) - exact) < 3


@pytest.mark.filterwarnings("ignore:Estimated shape parameter:UserWarning")
def test_loo_on_a_subset_of_the_rows(mcmc, regression):
    """As docs/minibatches.rst shows it: with all rows the same as from_numpyro's."""
    x, y = regression
    whole = az.loo(az.from_numpyro(mcmc, log_likelihood=True))
    draws = mcmc.get_samples(group_by_chain=True)

    def loo(rows):
        data = az.from_numpyro(mcmc, log_likelihood=False)
        ll = log_likelihood(mcmc.sampler.model, draws, x[rows], y[rows], batch_ndims=2)
        assert ll["y"].shape == (2, 100, len(rows))
        groups = {name: np.asarray(v) for name, v in ll.items()}
        if hasattr(data, "add_groups"):
            data.add_groups(log_likelihood=groups)
        else:
            dims = ("chain", "draw", "row")
            data["log_likelihood"] = xr.Dataset(
                {name: (dims, v) for name, v in groups.items()}
            )
        return az.loo(data)

    def value(one):
        return float(one.elpd_loo if hasattr(one, "elpd_loo") else one.elpd)

    assert abs(value(loo(np.arange(600))) - value(whole)) < 0.01
    rows = np.random.default_rng(0).choice(600, 200, replace=False)
    part = loo(rows)
    # Within 4 standard errors of a third of the rows.
    assert abs(3 * value(part) - value(whole)) < 4 * 3 * float(part.se)


def test_predictive_runs_on_the_full_data(mcmc, regression):
    x, _ = regression
    samples = mcmc.get_samples()
    draws = Predictive(mcmc.sampler.model, samples)(jax.random.key(1), x)["y"]
    assert draws.shape == (200, 600)
    fit = np.corrcoef(draws.mean(0), x @ samples["w"].mean(0))[0, 1]
    assert fit > 0.98


def test_predictive_on_the_model_as_written(mcmc, regression):
    x, _ = regression
    draws = Predictive(model, mcmc.get_samples())(jax.random.key(1), x)["y"]
    assert draws.shape == (200, 50)  # NumPyro predicts one minibatch
