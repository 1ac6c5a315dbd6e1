# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Conjugate linear regression, and the kernel's moments beside those of the exact
posterior. ::

    python tests/statistical/conjugate_regression.py
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin


def model(x, y, batch, prior_sd=1.0, prior_count=1.0):
    """`prior_count` other than 1 is the mistake of counting the prior that often."""
    with numpyro.handlers.scale(scale=prior_count):
        prior = dist.Normal(0, prior_sd).expand([x.shape[1]]).to_event(1)
        w = numpyro.sample("w", prior)
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


def data(rows, columns, correlation):
    key_x, key_c, key_y = jax.random.split(jax.random.key(0), 3)
    own = jax.random.normal(key_x, (rows, columns))
    common = jax.random.normal(key_c, (rows, 1))
    x = (1 - correlation) ** 0.5 * own + correlation**0.5 * common
    y = x @ jnp.linspace(-1, 1, columns) + jax.random.normal(key_y, (rows,))
    return x, y


def exact_posterior(x, y, prior_sd=1.0):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    covariance = np.linalg.inv(x.T @ x + np.eye(x.shape[1]) / prior_sd**2)
    return covariance @ x.T @ y, np.sqrt(np.diag(covariance))


def run(model, x, y, warmup, samples, chains, **settings):
    mcmc = MCMC(
        PseudoLangevin(model, **settings),
        num_warmup=warmup,
        num_samples=samples,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("kinetic_temperature", "noise_fraction")
    mcmc.run(jax.random.key(1), x, y, extra_fields=fields)
    return mcmc, np.asarray(mcmc.get_samples()["w"], np.float64)


PLAIN = {"control_variate": None, "dense_mass": False}
"""Settings without an anchor and without whitened coordinates."""


def moments(correlation, samples=600, chains=64, **settings):
    """
    N = 10,000, B = 100, 10 columns.

    :param correlation: between any two columns.
    :param settings: of the kernel, other than the default ones.
    :return: `mean_errors` in posterior standard deviations and `sd_ratios` by column,
        `noise_eigenvalue`, `noise_fraction` and `kinetic_temperature`.
    """
    x, y = data(10_000, 10, correlation)
    mean, sd = exact_posterior(x, y)
    mcmc, w = run(partial(model, batch=100), x, y, 100, samples, chains, **settings)
    fields = mcmc.get_extra_fields()
    return {
        "mean_errors": ((w.mean(0) - mean) / sd).tolist(),
        "sd_ratios": (w.std(0) / sd).tolist(),
        "noise_eigenvalue": float(np.mean(mcmc.last_state.noise_eigenvalue)),
        "noise_fraction": float(np.mean(fields["noise_fraction"])),
        "kinetic_temperature": float(np.mean(fields["kinetic_temperature"])),
    }


if __name__ == "__main__":
    for correlation in (0.0, 0.5):
        for settings in ({}, PLAIN):
            print(correlation, settings, moments(correlation, **settings))
