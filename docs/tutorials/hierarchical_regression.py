# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
A hierarchical regression with 300,000 rows
===========================================

Do customers of 40 shops come back? Some shops have tens of thousands of customers, some
only a hundred. A hierarchical model lets the small shops learn from the others. NUTS
needs all 300,000 rows for every gradient; here a step takes 256.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin, report

# %%
# The data
# --------
#
# They are made here, so that the truth is known: shops of very different sizes, with
# effects of standard deviation 0.5, and three standardized properties of a customer.

ROWS, SHOPS = 300_000, 40
rng = np.random.default_rng(0)
share = np.arange(1, SHOPS + 1) ** -2.0
shop = rng.choice(SHOPS, ROWS, p=share / share.sum())
x = rng.normal(size=(ROWS, 3)).astype(np.float32)
true_effect = -1.0 + 0.5 * rng.normal(size=SHOPS)
logits = true_effect[shop] + x @ np.array([0.8, -0.4, 0.0])
y = rng.random(ROWS) < 1 / (1 + np.exp(-logits))
size = np.bincount(shop, minlength=SHOPS)
print(f"customers of a shop: {size.max():,} to {size.min():,}")

# %%
# The model
# ---------
#
# As for NUTS, except for ``subsample_size``. The arguments of the rows go through
# ``numpyro.subsample``. The effects are centred: most shops have many rows.


def model(x, shop, y):
    slope = numpyro.sample("slope", dist.Normal(0, 1).expand([3]).to_event(1))
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    with numpyro.plate("shops", SHOPS):
        effect = numpyro.sample("effect", dist.Normal(mean, scale))
    with numpyro.plate("rows", len(x), subsample_size=256):
        xb = numpyro.subsample(x, event_dim=1)
        sb = numpyro.subsample(shop, event_dim=0)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Bernoulli(logits=effect[sb] + xb @ slope), obs=yb)


# %%
# The run
# -------
#
# ``jit_model_args=True`` keeps the data out of the compiled program.

mcmc = MCMC(
    PseudoLangevin(model),
    num_warmup=500,
    num_samples=1000,
    num_chains=4,
    chain_method="vectorized",
    jit_model_args=True,
    progress_bar=False,
)
data = (x, shop.astype(np.int32), y.astype(np.int32))
mcmc.run(jax.random.key(0), *data)
print(report(mcmc))

# %%
# What the shops have learned from each other
# -------------------------------------------
#
# Bars are 90 % intervals of the posterior. Crosses are the truth. Shops are in the
# order of their size: the smaller a shop, the wider its interval, and the nearer to the
# mean of all.

draws = mcmc.get_samples()
low, middle, high = np.quantile(draws["effect"], [0.05, 0.5, 0.95], axis=0)
order = np.argsort(-size)
at = np.arange(SHOPS)
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.vlines(
    at, low[order], high[order], color="#0072B2", linewidth=4, label="90 % interval"
)
ax.plot(
    at, true_effect[order], "x", color="#D55E00", markersize=7, mew=2, label="truth"
)
ax.axhline(draws["mean"].mean(), color="0.3", linestyle="--", label="mean of all shops")
ax.set_xticks(at[::5], [f"{n:,}" for n in size[order][::5]])
ax.set_xlabel("customers of the shop")
ax.set_ylabel("effect of the shop (log-odds)")
ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
plt.show()

# %%
# About 36 of the 40 true effects should be inside. Chance has these data nearer than
# most: the maximum likelihood estimates are, too.

inside = (low <= true_effect) & (true_effect <= high)
print(f"{inside.sum()} of {SHOPS} true effects are inside their 90 % intervals")
