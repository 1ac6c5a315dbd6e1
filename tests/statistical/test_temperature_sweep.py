# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Conjugate regression at several temperatures at once, against the exact posterior at
each: `exp(-U / T)` is normal, with the same mean and T times the covariance.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conjugate_regression import PLAIN, data, exact_posterior, model
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin, temperature_sweep

pytestmark = pytest.mark.statistical

ROWS, COLUMNS, BATCH = 1000, 3, 50
TEMPERATURES = [0.1, 1.0, 3000.0]
PLAN = {"num_warmup": 200, "num_samples": 1500, "num_chains": 8}


def problem():
    x, y = data(ROWS, COLUMNS, 0.3)
    mean, _ = exact_posterior(x, y)
    x64 = np.asarray(x, np.float64)
    covariance = np.linalg.inv(x64.T @ x64 + np.eye(COLUMNS))
    return x, y, mean, covariance


def moments(mean):
    """First moments and second ones around the exact mean, of one draw."""

    def metrics(values):
        off = values["w"] - jnp.asarray(mean, jnp.float32)
        return {"first": off, "second": jnp.outer(off, off)}

    return metrics


def swept(**settings):
    x, y, mean, _ = problem()
    kernel = PseudoLangevin(partial(model, batch=BATCH), **settings)
    return temperature_sweep(
        kernel, TEMPERATURES, jax.random.key(3), x, y, metrics=moments(mean), **PLAN
    )


@pytest.fixture(scope="module")
def plain():
    return swept(**PLAIN)


def scores(sweep):
    """First and second moments in standard errors from exact, one row each."""
    covariance = problem()[3]
    t = sweep.temperature.to_numpy()
    exact = t[:, None, None] * covariance
    first = sweep["first"].to_numpy() / sweep.first_se.to_numpy()
    second = (sweep.second.to_numpy() - exact) / sweep.second_se.to_numpy()
    return first, second[(slice(None), *np.triu_indices(COLUMNS))]


def test_every_temperature_is_exact(plain):
    """
    27 moments within 4.5 standard errors, which fails by chance once in 5,000. Second
    moments are known to 5 % or better, so that a temperature that is not applied, or
    that of another chain, is 18 standard errors off or more.
    """
    first, second = scores(plain)
    print(first, second)
    assert np.abs(first).max() < 4.5
    assert np.abs(second).max() < 4.5
    diagonal = np.diagonal(plain.second, axis1=1, axis2=2)
    error = np.diagonal(plain.second_se, axis1=1, axis2=2)
    assert (error < 0.05 * diagonal).all()
    kinetic = plain.kinetic_temperature / plain.temperature
    assert np.abs(kinetic.to_numpy() - 1).max() < 0.03


def test_every_temperature_has_its_own_scales(plain):
    """
    At T = 3,000 the noise is 10 times as large as at T = 1. Scales of its own give each
    temperature the noise fraction asked for, 0.2; common ones would give the cold
    chains a few hundredths, and the hot ones more.
    """
    print(plain.noise_fraction.to_numpy())
    np.testing.assert_allclose(plain.noise_fraction, 0.2, rtol=0.15)


def test_a_temperature_of_a_sweep_is_that_of_a_kernel_alone(plain):
    """9 moments at T = 3,000 within 4.5 standard errors of the difference."""
    x, y, mean, _ = problem()
    kernel = PseudoLangevin(
        partial(model, batch=BATCH), temperature=TEMPERATURES[-1], **PLAIN
    )
    mcmc = MCMC(kernel, chain_method="vectorized", progress_bar=False, **PLAN)
    mcmc.run(jax.random.key(4), x, y)
    draws = mcmc.get_samples(group_by_chain=True)
    alone = jax.vmap(jax.vmap(moments(mean)))(draws)
    for name, values in alone.items():
        by_chain = np.asarray(values, np.float64).mean(1)
        error = by_chain.std(0, ddof=1) / PLAN["num_chains"] ** 0.5
        error = np.hypot(error, plain[f"{name}_se"][-1].to_numpy())
        z = (by_chain.mean(0) - plain[name][-1].to_numpy()) / error
        print(name, z)
        assert np.abs(z).max() < 4.5


def test_whitened_and_anchored_chains_are_exact():
    """Default settings, whose conditions on measurements do have an axis here."""
    first, second = scores(swept())
    print(first, second)
    assert np.abs(first).max() < 4.5
    assert np.abs(second).max() < 4.5
