# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Many rows and few coefficients, at default settings: anchored gradients and whitened
coordinates against exact posteriors and NUTS.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS
from shared_models import linear_model

from numpyro_pl import PseudoLangevin, datasets

pytestmark = pytest.mark.statistical

CHAINS, DRAWS = 16, 500


def sampled(model, *data, **settings):
    """Draws of shape (chain, draw, column), fields, and the last state."""
    mcmc = MCMC(
        PseudoLangevin(model, **settings),
        num_warmup=300,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("potential_energy", "kinetic_temperature", "noise_fraction", "diverging")
    mcmc.run(jax.random.key(0), *data, extra_fields=fields)
    w = np.asarray(mcmc.get_samples(group_by_chain=True)["w"], float)
    return w, mcmc.get_extra_fields(), mcmc.last_state


@pytest.fixture(scope="module")
def regression():
    """100,000 rows, eight columns correlated 0.9, and the exact posterior."""
    return datasets.linear_regression(0, 100_000, 8, correlation=0.9)


def errors(w, data, temperature=1.0):
    """
    Largest error of a mean along the eigenvectors of the posterior, in standard
    deviations, and relative temperatures along them, each with a standard error.
    """
    covariance = temperature * data.posterior_covariance
    values, vectors = np.linalg.eigh(covariance)
    along = (w - data.posterior_mean) @ vectors / values**0.5
    means, squares = along.mean(1), (along**2).mean(1)
    chains = len(w) ** 0.5
    return (
        (means.mean(0), means.std(0, ddof=1) / chains),
        (squares.mean(0), squares.std(0, ddof=1) / chains),
    )


def check_directions(w, data, temperature=1.0):
    """
    Draws are nearly independent: standard errors of 0.01 for means, 0.016 for
    temperatures, from 16 chains. Within 4 of them and 0.02: a false alarm in a thousand
    runs.
    """
    (mean, mean_error), (square, square_error) = errors(w, data, temperature)
    print("means", mean.round(3), "temperatures", square.round(3))
    assert (mean_error < 0.03).all()
    assert (square_error < 0.04).all()
    np.testing.assert_array_less(np.abs(mean), 4 * mean_error + 0.02)
    np.testing.assert_array_less(np.abs(square - 1), 4 * square_error + 0.02)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_every_direction_of_a_regression(regression, temperature):
    """At default settings; the estimated potential has the right spread."""
    model = partial(linear_model, batch=256)
    w, fields, state = sampled(
        model, regression.x, regression.y, temperature=temperature
    )
    assert (state.frame.share == 1).all()
    check_directions(w, regression, temperature)
    assert effective_sample_size(w).min() > 0.5 * CHAINS * DRAWS
    assert np.mean(fields["kinetic_temperature"]) == pytest.approx(
        temperature, rel=0.02
    )
    assert not np.any(fields["diverging"])
    energy = np.asarray(fields["potential_energy"], float) / temperature
    # Chi-square with eight degrees of freedom: standard deviation 2. 8,000 draws.
    assert energy.std() == pytest.approx(2.0, abs=0.12)


def test_every_direction_with_the_linear_part_alone(regression):
    """Without whitened coordinates the anchor has no quadratic part: noise is left."""
    settings = {"control_variate": "mean", "dense_mass": False, "num_steps": 100}
    model = partial(linear_model, batch=256)
    w, fields, state = sampled(model, regression.x, regression.y, **settings)
    assert isinstance(state.frame.curvature, tuple)
    assert np.mean(fields["noise_fraction"]) > 0.02
    check_directions(w, regression)


@pytest.mark.filterwarnings("ignore:The warmup has not settled")
def test_a_gradient_without_the_slope_at_the_anchor_is_seen(regression, monkeypatch):
    """
    The check above fails if the anchor's gradient on all data is left out: chains stay
    where their anchors are, and the kernel says so.
    """
    from numpyro_pl.kernels.run import Run

    anchor_of = Run.anchor

    def without_slope(self, frame):
        anchor = anchor_of(self, frame)
        zeros = jax.tree.map(jnp.zeros_like, anchor.slope)
        return anchor._replace(slope=zeros)

    monkeypatch.setattr(Run, "anchor", without_slope)
    x, y = regression.x, regression.y
    w, _, _ = sampled(partial(linear_model, batch=256), x, y, control_variate="mean")
    with pytest.raises(AssertionError):
        check_directions(w, regression)


def logistic(x, y, batch=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Bernoulli(logits=xb @ w), obs=yb)


def poisson(x, y, batch=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Poisson(jnp.exp(xb @ w)), obs=yb)


@pytest.mark.parametrize("model", [logistic, poisson])
def test_regressions_that_are_not_normal(model):
    """
    20,000 rows with an intercept, a rare column and correlated ones, against 2,000
    draws of NUTS. Means within 0.1 of a standard deviation, standard deviations within
    4 % and three standard errors of NUTS's.
    """
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20_000, 6))
    x[:, 1] = 0.9 * x[:, 0] + 0.44 * x[:, 1]
    x[:, 2], x[:, 3] = 1.0, generator.random(20_000) < 0.01
    eta = x @ np.array([0.5, -0.5, -1.0, 1.0, 0.2, 0.0])
    if model is logistic:
        y = (generator.random(20_000) < 1 / (1 + np.exp(-eta))).astype(int)
    else:
        y = generator.poisson(np.exp(eta))
    data = jnp.asarray(x, jnp.float32), jnp.asarray(y)
    nuts = MCMC(NUTS(model), num_warmup=300, num_samples=2000, progress_bar=False)
    nuts.run(jax.random.key(1), *data)
    known = np.asarray(nuts.get_samples()["w"], float)
    size = effective_sample_size(known[None])
    w, fields, state = sampled(partial(model, batch=128), *data)
    w = w.reshape(-1, 6)
    off = (w.mean(0) - known.mean(0)) / known.std(0)
    ratio = w.std(0) / known.std(0)
    print("off", off.round(3), "sd ratios", ratio.round(3), "ESS of NUTS", size.round())
    assert (state.frame.share == 1).all()
    np.testing.assert_array_less(np.abs(off), 0.1)
    np.testing.assert_array_less(np.abs(ratio - 1), 0.04 + 3 / (2 * size) ** 0.5)
    assert np.mean(fields["kinetic_temperature"]) == pytest.approx(1.0, abs=0.02)
