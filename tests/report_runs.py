# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Runs that are right or wrong in a known way, many seeds of each: synthetic chains for
convergence, and the kernel with its thermostat broken on purpose for temperatures. The
seeds of the kernel are chains of one program.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC
from scipy.signal import lfilter

from numpyro_pl import PseudoLangevin

CHAINS, DIM = 4, 20


class Run(NamedTuple):
    """What `report` uses of an `MCMC`."""

    samples: dict
    fields: dict
    sampler: Any = None
    last_state: Any = None
    thinning: int = 1

    def get_samples(self, group_by_chain):
        return self.samples

    def get_extra_fields(self, group_by_chain):
        return self.fields


def ar1(seed, num_draws, phi, dim=10):
    """Stationary chains, standard normal, of shape (chain, draw, dim)."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(CHAINS, num_draws, dim)) * np.sqrt(1 - phi**2)
    white[:, 0] = rng.normal(size=(CHAINS, dim))
    return lfilter([1.0], [1.0, -phi], white, axis=1)


def as_run(w):
    """A run with the potential of a normal distribution."""
    return Run({"w": w}, {"potential_energy": 0.5 * np.sum(w**2, -1)})


def synthetic(kind, seed, num_draws=1000):
    """Chains that are good, or wrong in one way."""
    w = ar1(seed, num_draws, 0.98 if kind == "short" else 0.7)
    if kind == "short":
        w = w[:, :200]
    if kind == "unsettled":
        w += 4 * np.exp(-4 * np.arange(num_draws) / num_draws)[:, None]
    if kind == "mode":
        w[-1, :, 0] += 3
    return as_run(w)


def model(x, y):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=50):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


def data():
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (1000, DIM))
    return x, jax.random.normal(key_y, (1000,))


def warmed_up(num_seeds, num_warmup=150, num_samples=400, **settings):
    """A kernel warmed up, with the chains of all seeds side by side."""
    settings = {"num_steps": 50, "control_variate": None, **settings}
    kernel = PseudoLangevin(model, dense_mass=False, **settings)
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=CHAINS * num_seeds,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.warmup(jax.random.key(1), *data())
    return mcmc


FROZEN = {"example_friction": False, "noise_fraction": 0.2, "variance_rate": 1e-12}
"""Settings with which the noise estimate never changes after warmup."""


def broken(mcmc, kind):
    """The runs of all seeds, with the state changed after the warmup."""
    state = mcmc.last_state
    mcmc.post_warmup_state = _changed(state, kind)
    mcmc.run(mcmc.post_warmup_state.rng_key, *data())
    mcmc.post_warmup_state = state
    samples = mcmc.get_samples(group_by_chain=True)
    fields = dict(mcmc.get_extra_fields(group_by_chain=True))
    # To the report the target is the posterior.
    fields["temperature"] = jnp.ones_like(fields["temperature"])
    samples, fields, last = jax.tree.map(np.asarray, (samples, fields, _plain(mcmc)))
    runs = []
    for first in range(0, len(next(iter(samples.values()))), CHAINS):
        parts = jax.tree.map(
            lambda x, i=first: x[i : i + CHAINS], (samples, fields, last)
        )
        runs.append(Run(*parts[:2], mcmc.sampler, parts[2]))
    return runs


def _plain(mcmc):
    """The last state without its keys, which NumPy cannot hold."""
    return mcmc.last_state._replace(rng_key=mcmc.last_state.i)


def _changed(state, kind):
    if kind == "thermostat 10 % hot":
        return state._replace(temperature=1.1 * state.temperature)
    if kind == "noise not compensated":
        zero = jax.tree.map(jnp.zeros_like, state.noise_variance)
        return state._replace(noise_variance=zero)
    return state
