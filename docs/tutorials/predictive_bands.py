# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
A regression with predictive bands
==================================

A curve and the noise around it are learned together from 100,000 points. In a gap of
the data the bands widen, which a fitted curve alone would not tell.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, Predictive

from numpyro_pl import PseudoLangevin, report
from numpyro_pl.diagnostics import crps, interval_coverage
from numpyro_pl.plots import plot_coverage, plot_predictive_bands

# %%
# Data with a gap
# ---------------
#
# The noise grows from the left to the right, and there are no points between 0 and 1.5.

rng = np.random.default_rng(0)


def observed(num):
    """Inputs and values."""
    x = np.where(
        rng.random(num) < 0.5, rng.uniform(-3, 0, num), rng.uniform(1.5, 3, num)
    )
    y = np.sin(2 * x) + np.exp(0.4 * x - 1.2) * rng.normal(size=num)
    return x.astype(np.float32), y.astype(np.float32)


x, y = observed(100_000)
x_test, y_test = observed(1000)

# %%
# The model
# ---------
#
# The curve is a sum of 16 bumps, the logarithm of the noise one of 16 others. With
# ``y=None`` the model predicts.

CENTRES = jnp.linspace(-3, 3, 16)


def bumps(x):
    return jnp.exp(-0.5 * ((x[..., None] - CENTRES) / 0.4) ** 2)


def model(x, y=None):
    prior = dist.Normal(0, 1).expand([16]).to_event(1)
    curve = numpyro.sample("curve", prior)
    noise = numpyro.sample("noise", prior)
    with numpyro.plate("rows", x.shape[0], subsample_size=256):
        features = bumps(numpyro.subsample(x, event_dim=0))
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample(
            "y", dist.Normal(features @ curve, jnp.exp(features @ noise)), obs=yb
        )


mcmc = MCMC(
    PseudoLangevin(model),
    num_warmup=500,
    num_samples=500,
    num_chains=4,
    chain_method="vectorized",
    progress_bar=False,
)
mcmc.run(jax.random.key(0), x, y)
print(report(mcmc))

# %%
# Bands
# -----
#
# ``mcmc.sampler.model`` is the model on any number of rows. The bands hold the noise of
# an observation: nine in ten points lie in the wide one. Every five hundredth point is
# shown.

predictive = Predictive(mcmc.sampler.model, mcmc.get_samples())
grid = np.linspace(-3, 3, 240, dtype=np.float32)
bands = predictive(jax.random.key(1), grid)["y"]
ax = plot_predictive_bands(grid, bands, observed=(x[::500], y[::500]))
ax.plot(grid, np.sin(2 * grid), ":", color="#D55E00", linewidth=2, label="true curve")
ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
plt.show()

# %%
# Are the bands right?
# --------------------
#
# Of new points of the same kind, the share inside of each interval should be its
# probability. The scores come with their standard errors.

at_test = predictive(jax.random.key(2), x_test)["y"]
for name, score in {
    "share in the 90 % interval": interval_coverage(y_test, at_test, 0.9),
    "CRPS": crps(y_test, at_test),
}.items():
    print(f"{name}: {score.mean:.3f}, standard error {score.standard_error:.3f}")
plot_coverage(y_test, {"posterior": at_test})
plt.show()
