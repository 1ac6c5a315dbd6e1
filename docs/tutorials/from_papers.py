# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
From a paper's code to this package
===================================

Papers on SGLD, SGHMC and AdLaLa print an update, and users copy it. Here the same
update is a kernel: what its settings are called, that it samples the same distribution,
and what :class:`~numpyro_pl.PseudoLangevin` does about its error.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC

from numpyro_pl import SGLD, PseudoLangevin

# %%
# The loop of the paper
# ---------------------
#
# A linear regression with a known posterior, so that errors can be seen: 2,000 rows,
# five coefficients, noise of standard deviation 1, minibatches of 20.

N, B, D = 2000, 20, 5
rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(N, D)), jnp.float32)
y = x @ jnp.ones(D) + jnp.asarray(rng.normal(size=N), jnp.float32)
exact_sd = np.sqrt(np.diag(np.linalg.inv(x.T @ x + np.eye(D))))


def potential(w, xb, yb):
    """Minus the log density, with the data term of a minibatch scaled up."""
    return 0.5 * w @ w + N / B * 0.5 * jnp.sum((yb - xb @ w) ** 2)


rate = 1e-5


@jax.jit
def paper(key):
    """SGLD: a gradient step, and noise of variance twice the learning rate."""

    def step(w, key):
        key_rows, key_noise = jax.random.split(key)
        rows = jax.random.randint(key_rows, (B,), 0, N)
        gradient = jax.grad(potential)(w, x[rows], y[rows])
        noise = jax.random.normal(key_noise, (D,))
        w = w - rate * gradient + jnp.sqrt(2 * rate) * noise
        return w, w

    return jax.lax.scan(step, jnp.zeros(D), jax.random.split(key, 200_000))[1]


by_hand = paper(jax.random.key(0))[10_000:]

# %%
# The same as a kernel
# --------------------
#
# The model takes the place of the potential, and its plate that of the sampling of
# rows. The step length h of the kernels has the learning rate :math:`h^2 / (2 N)` on
# the potential. ``warn=False``, because this run would warn: its temperature is not 1.


def model(x, y):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([D]).to_event(1))
    with numpyro.plate("rows", N, subsample_size=B):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)


def sampled(kernel):
    """Draws of four chains."""
    mcmc = MCMC(
        kernel,
        num_warmup=200,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(1), x, y)
    temperature = mcmc.get_extra_fields()["kinetic_temperature"].mean()
    print(f"{type(kernel).__name__}: kinetic temperature {temperature:.2f}")
    return mcmc.get_samples()["w"]


as_kernel = sampled(
    SGLD(model, step_size=(2 * N * rate) ** 0.5, num_steps=50, warn=False)
)
right = sampled(PseudoLangevin(model))

# %%
# What they sample
# ----------------
#
# Loop and kernel have the same spread, which is too wide: the noise of the minibatches
# heats the chain, as its kinetic temperature says. R-hat sees nothing of it.
# ``PseudoLangevin`` has the spread of the posterior.

results = {
    "SGLD, loop by hand": by_hand,
    "SGLD(model, step_size)": as_kernel,
    "PseudoLangevin(model)": right,
}
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for i, (name, draws) in enumerate(results.items()):
    ratio = np.asarray(draws).std(0) / exact_sd
    print(f"{name:24s} sd / exact sd: {ratio.min():.2f} to {ratio.max():.2f}")
    ax.plot(ratio, np.full(D, -i), "o", color="#0072B2", markersize=8, alpha=0.7)
ax.axvline(1, color="0.2", linestyle="--")
ax.set_yticks([0, -1, -2], list(results))
ax.set_ylim(-2.5, 0.5)
ax.set_xlabel("standard deviation of each coefficient, exact posterior: 1")
plt.show()

# %%
# Settings of the papers
# ----------------------
#
# .. list-table::
#    :header-rows: 1
#    :widths: 50 50
#
#    * - in the paper
#      - here
#    * - SGLD, learning rate e on the whole potential
#      - ``SGLD(model, step_size=(2 * N * e) ** 0.5)``
#    * - SGLD, learning rate e on the mean loss
#      - ``SGLD(model, step_size=(2 * e) ** 0.5)``
#    * - SGHMC, step h in the mean loss, friction g
#      - ``SGHMC(model, step_size=h, friction=g)``
#    * - AdLaLa and LOL, step h
#      - ``AdLaLa(model, step_size=h, published=True)``, ``LOL(model, step_size=h)``
#    * - temperature t of the mean loss of N examples
#      - ``temperature=N * t``
#    * - no step size: let the warmup find one
#      - leave ``step_size`` out (not AdLaLa and LOL, whose default is the paper's 0.25)
#    * - a layer with dynamics of its own
#      - ``PartitionedLangevin(model, {"w1": ..., "*": ...})``
#
# Where these come from, and what they sample on a network: :doc:`/partitioned`.
