"""
Conjugate linear regression: the kernel with default settings, minibatches of a NumPyro
model, against the exact posterior.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin

pytestmark = pytest.mark.statistical


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
    mcmc.run(jax.random.key(1), x, y, extra_fields=("kinetic_temperature",))
    return mcmc, np.asarray(mcmc.get_samples()["w"], np.float64)


@pytest.mark.parametrize(("correlation", "limit"), [(0.0, 0.03), (0.5, 0.06)])
def test_moments(correlation, limit):
    """
    N = 10,000, B = 100, 10 columns, default settings. Chains forget in about 10
    passes, so 64 chains of 600 draws are about 2,000 to 4,000 independent ones: the
    standard error is 0.02 posterior sd for a mean and about 1.5 % for an sd. Limits:
    means 0.1 sd; the mean sd ratio of the columns 3 % and 6 %, and that of each column
    the same plus 2 standard errors of its own.
    """
    x, y = data(10_000, 10, correlation)
    mean, sd = exact_posterior(x, y)
    mcmc, w = run(partial(model, batch=100), x, y, 100, 600, 64)
    error, ratio = (w.mean(0) - mean) / sd, w.std(0) / sd
    eigenvalue = np.asarray(mcmc.last_state.noise_eigenvalue)
    print("mean errors", error.round(3), "sd ratios", ratio.round(3), ratio.mean())
    print("noise eigenvalue", eigenvalue.mean().round(3))
    temperature = np.asarray(mcmc.get_extra_fields()["kinetic_temperature"])
    print("kinetic temperature", temperature.mean())
    assert np.abs(error).max() < 0.1
    assert abs(ratio.mean() - 1) < limit
    assert np.abs(ratio - 1).max() < limit + 2 * 0.015
    assert abs(temperature.mean() - 1) < 0.02
    # Independent columns: a covariance nearly diagonal, all eigenvalues near f = 0.05.
    # Correlated ones: f (1 + 9 * 0.5) along the common direction.
    expected = 0.05 * (1 + 9 * correlation)
    assert 0.7 * expected < eigenvalue.mean() < 1.4 * expected


PRIOR = {"prior_sd": 0.05}


def prior_z_score(prior_count):
    """Mean of a coefficient that the prior pulls in, in standard errors from exact."""
    x, y = data(400, 2, 0.0)
    mean, sd = exact_posterior(x, y, **PRIOR)
    biased = partial(model, batch=40, prior_count=prior_count, **PRIOR)
    _, w = run(biased, x, y, 60, 100, 64)
    return np.abs((w.mean(0) - mean) / (sd / 600**0.5)).max()


def test_prior_counts_once():
    """64 chains of 100 draws, about 600 independent: within 4 standard errors."""
    z = prior_z_score(1.0)
    print("z-score", z)
    assert z < 4


def test_prior_counted_at_every_minibatch_is_seen():
    """The check above fails where the prior counts N / B = 10 times."""
    assert prior_z_score(10.0) > 20
