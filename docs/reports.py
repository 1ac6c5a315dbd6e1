# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The printed reports of trust.rst, made anew by every build of the pages."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC

from numpyro_pl import SGHMC, PseudoLangevin, report


def model(x, y):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=100):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Bernoulli(logits=xb @ w), obs=yb)


def data():
    x = jax.random.normal(jax.random.key(0), (2000, 3))
    p = jax.nn.sigmoid(x @ jnp.array([1.0, 0.0, -1.0]))
    return x, jax.random.bernoulli(jax.random.key(1), p).astype(int)


def sampled(kernel, num_samples):
    mcmc = MCMC(
        kernel,
        num_warmup=300,
        num_samples=num_samples,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(2), *data())
    return mcmc


def write(folder: Path) -> None:
    """Write good_report.txt, with the data, and hot_report.txt, without."""
    folder.mkdir(exist_ok=True)
    good = report(sampled(PseudoLangevin(model), 500), (data(), {}))
    hot = report(sampled(SGHMC(model, noise_fraction=0.3), 500))
    (folder / "good_report.txt").write_text(f"{good}\n", encoding="utf-8")
    (folder / "hot_report.txt").write_text(f"{hot}\n", encoding="utf-8")
