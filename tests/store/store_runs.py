"""A small run and its store, also as a process of its own that can be killed."""

import sys
from pathlib import Path

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC

from numpyro_pl import SGLD, sample_to_store

X = np.linspace(-1.0, 1.0, 120, dtype=np.float32).reshape(40, 3)
Y = X.sum(1)


def model(x, y=None):
    w = numpyro.sample("nn/w", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("groups", 2):
        numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("data", x.shape[0], subsample_size=10):
        xb = numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


def make(num_samples=20, kernel=None, **settings):
    kernel = {"num_steps": 2, "step_size": 0.1, **(kernel or {})}
    settings = {"num_chains": 2, "chain_method": "vectorized", **settings}
    return MCMC(
        SGLD(model, **kernel),
        num_warmup=6,
        num_samples=num_samples,
        progress_bar=False,
        **settings,
    )


def sample(path, mcmc=None, x=X, y=Y, seed=0, **settings):
    settings = {"draws_per_chunk": 4, "extra_fields": ("potential_energy",), **settings}
    mcmc = make() if mcmc is None else mcmc
    return sample_to_store(mcmc, jax.random.key(seed), x, y, path=path, **settings)


def contents(path):
    """Every file of the draws and their metadata, by name."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(Path(path).rglob("*"))
        if file.is_file() and ".numpyro_pl" not in file.parts
    }


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    sample(sys.argv[1], make(int(sys.argv[2])))
