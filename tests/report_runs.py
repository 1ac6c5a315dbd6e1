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
from jax import lax
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


FROZEN = {"example_friction": False, "noise_fraction": 0.2, "variance_rate": 1e-12}
"""Settings with which the noise estimate never changes after warmup."""


def simulated(kinds, num_seeds, num_warmup=100, num_samples=300, **settings):
    """
    Runs of a kernel by kind, those of all seeds and kinds side by side; what is wrong
    with a kind is changed after the warmup.
    """
    settings = {"num_steps": 50, "control_variate": None, **settings}
    kernel = PseudoLangevin(model, dense_mass=False, **settings)
    args, num = data(), CHAINS * num_seeds * len(kinds)
    state = kernel.init(
        jax.random.split(jax.random.key(1), num), num_warmup, None, args, {}
    )
    names = ("z", *kernel.default_fields[1:])

    @jax.jit
    def advance(state, buffers, num):
        """One program for warmup and sampling."""

        def draw(i, carry):
            state, buffers = carry
            state = kernel.sample(state, args, {})
            values = {name: getattr(state, name) for name in names}
            at = jnp.minimum(i, num_samples - 1)
            return state, jax.tree.map(lambda b, v: b.at[at].set(v), buffers, values)

        return lax.fori_loop(0, num, draw, (state, buffers))

    buffers = jax.tree.map(
        lambda x: jnp.zeros((num_samples, *x.shape), x.dtype),
        {name: getattr(state, name) for name in names},
    )
    state, _ = advance(state, buffers, num_warmup)
    of_chain = np.repeat(kinds, CHAINS * num_seeds)
    state, buffers = advance(_broken(state, of_chain), buffers, num_samples)
    fields = {
        k: jax.tree.map(lambda x: np.moveaxis(np.asarray(x), 0, 1), v)
        for k, v in buffers.items()
    }
    # To the report the target is the posterior.
    fields["temperature"] = np.ones_like(fields["temperature"])
    last = jax.tree.map(np.asarray, state._replace(rng_key=state.i))
    found = {kind: [] for kind in kinds}
    for first in range(0, num, CHAINS):
        part, end = jax.tree.map(lambda x, i=first: x[i : i + CHAINS], (fields, last))
        run = Run(part.pop("z"), part, kernel, end)
        found[of_chain[first]].append(run)
    return found


def _broken(state, kinds):
    """The state with what is wrong, by the kind of each chain."""
    hot = jnp.where(kinds == "thermostat 10 % hot", 1.1, 1.0)
    counted = jnp.where(kinds == "noise not compensated", 0.0, 1.0)
    return state._replace(
        temperature=(hot * state.temperature).astype(state.temperature.dtype),
        noise_variance=jax.tree.map(
            lambda v: (v.T * counted.astype(v.dtype)).T, state.noise_variance
        ),
    )
