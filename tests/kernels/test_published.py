# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The published scheme inside NumPyro's MCMC: its bias, its estimates, its settings."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import PublishedPseudoLangevin

FIELDS = ("noise_fraction", "scales", "noise_variance")


def means(y, batch=64):
    """Normal rows with unknown means, one for each column; conjugate."""
    prior = dist.Normal(0, 1).expand([y.shape[1]]).to_event(1)
    mean = numpyro.sample("mean", prior)
    with numpyro.plate("rows", y.shape[0], subsample_size=batch):
        yb = numpyro.subsample(y, event_dim=1)
        numpyro.sample("y", dist.Normal(mean, 1.0).to_event(1), obs=yb)


def run(kernel, args, samples, chains, fields=FIELDS, start=None):
    mcmc = MCMC(
        kernel,
        num_warmup=0,
        num_samples=samples,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), *args, extra_fields=fields, init_params=start)
    return mcmc


@pytest.mark.statistical
def test_variances_have_exactly_the_bias_of_the_full_step():
    """
    A normal posterior whose rows are spread so that the authors' masses give the
    frequencies 0.5, 1 and 1.2. Each chain has the masses of its own estimate, and with
    them an expected bias. Three variances within 4 standard errors of it: a false alarm
    in 5,000 runs. Draws read at the half step would have no bias: 6 standard errors and
    more away.
    """
    rng = np.random.default_rng(0)
    num, batch, ratio, loss = 1024, 64, 0.01, 0.5
    wanted = np.array([0.5, 1.0, 1.2])
    spread = np.sqrt(4 * loss**2 * ratio * batch / num) / wanted
    y = jnp.asarray(spread * rng.normal(size=(num, 3)), jnp.float32)
    kernel = PublishedPseudoLangevin(
        means,
        temperature_ratio=ratio,
        momentum_loss=loss,
        interval=10**8,
        num_steps=20,
        full_potential=False,
    )
    burn, chains = 20, 400
    exact = np.asarray(y, np.float64).sum(0) / (num + 1)
    start = {"mean": jnp.tile(jnp.asarray(exact, jnp.float32), (chains, 1))}
    mcmc = run(kernel, (y,), burn + 100, chains, (), start)
    (rates,) = jax.tree.leaves(mcmc.last_state.scales)
    steepness = num + 1
    squared = 2 * np.asarray(rates, np.float64) * steepness / (2 - loss**2)
    print("frequencies", np.sqrt(squared.mean(0)))
    np.testing.assert_allclose(np.sqrt(squared.mean(0)), wanted, rtol=0.1)
    draws = np.asarray(mcmc.get_samples(group_by_chain=True)["mean"], np.float64)
    ratio_of_chain = ((draws[:, burn:] - exact) ** 2).mean(1) * steepness
    off = ratio_of_chain - 1 / (1 - squared / 4)
    error = off.std(0, ddof=1) / chains**0.5
    print("variance / exact", ratio_of_chain.mean(0), "z", off.mean(0) / error)
    assert (np.abs(off.mean(0)) < 4 * error).all()
    assert (ratio_of_chain.mean(0) - 1 > 6 * error).all()


@pytest.fixture(scope="module")
def estimates(regression):
    """Twelve draws of 10 steps, an estimate every 30 steps; no mass is set anew."""
    kernel = PublishedPseudoLangevin(
        linear_model, interval=30, num_steps=10, reset_probability=0.0
    )
    return run(kernel, regression, 12, 2)


def test_the_noise_is_frozen_between_estimates(estimates):
    """At draws 0, 3, 6 and 9 it is estimated anew, and stays the same after them."""
    fields = estimates.get_extra_fields(group_by_chain=True)
    (variance,) = jax.tree.leaves(fields["noise_variance"])
    changed = (np.diff(variance, axis=1) != 0).any((0, 2))
    assert np.flatnonzero(changed).tolist() == [2, 5, 8]
    assert (np.asarray(variance) > 0).all()


def test_masses_only_grow_where_none_is_set_anew(estimates):
    """The first estimate gives all weights the noise fraction; later ones bound it."""
    fields = estimates.get_extra_fields(group_by_chain=True)
    (rates,) = jax.tree.leaves(fields["scales"])
    change = np.diff(rates, axis=1)
    assert (change <= 0).all()
    assert (change < 0).any()
    asked = (2 - 0.1**2) * 0.01
    fraction = np.asarray(fields["noise_fraction"])
    np.testing.assert_allclose(fraction[:, :3], asked, rtol=1e-4)
    assert (fraction <= asked * 1.0001).all()
    # Each chain has an estimate of its own.
    assert (np.asarray(rates)[0, 0] != np.asarray(rates)[1, 0]).any()


def test_resumed_chains_keep_to_the_interval(regression, estimates):
    kernel = PublishedPseudoLangevin(
        linear_model, interval=30, num_steps=10, reset_probability=0.0
    )
    mcmc = run(kernel, regression, 5, 2)
    mcmc.post_warmup_state = mcmc.last_state
    mcmc.num_samples = 7
    mcmc.run(mcmc.last_state.rng_key, *regression)
    whole = estimates.get_samples(group_by_chain=True)["w"]
    again = mcmc.get_samples(group_by_chain=True)["w"]
    np.testing.assert_array_equal(again, whole[:, 5:])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"temperature_ratio": 0.6}, ValueError, "temperature_ratio must be at most"),
        ({"temperature_ratio": 0}, ValueError, "temperature_ratio must be"),
        ({"momentum_loss": 1.0}, ValueError, "momentum_loss must be"),
        ({"interval": 0}, ValueError, "interval must be"),
        ({"reset_probability": 1.5}, ValueError, "reset_probability must be"),
        ({"least_variance": -1}, ValueError, "least_variance must be"),
        ({"estimate_batches": 0}, ValueError, "estimate_batches must be"),
        ({"noise_fraction": 0.1}, TypeError, "has no setting 'noise_fraction'"),
    ],
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        PublishedPseudoLangevin(linear_model, **settings)


def test_a_model_without_minibatches_is_refused(regression):
    kernel = PublishedPseudoLangevin(partial(linear_model, batch=None))
    with pytest.raises(ValueError, match=r"give a plate\(\.\.\., subsample_size=B\)"):
        kernel.init(jax.random.key(0), 0, None, regression, {})
