# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
How warm should a network be?
=============================

A posterior is sampled at temperature 1. Colder networks fit the training data better,
hotter ones wander further. A sweep shows which of them predict best, one by one and
together: here for a network that learns digits from 300 images, one label in five of
which is wrong.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

from numpyro_pl import PseudoLangevin, datasets, temperature_sweep
from numpyro_pl.diagnostics import accuracy, classification_metrics
from numpyro_pl.plots import plot_temperature_sweep

# %%
# The data and the model
# ----------------------

digits = datasets.digits()
rng = np.random.default_rng(0)
x, y = digits.x_train[:300], np.array(digits.y_train[:300])
wrong = rng.random(300) < 0.2
y[wrong] = rng.integers(0, 10, wrong.sum())


def logits(values, x):
    return jnp.tanh(x @ values["w1"]) @ values["w2"]


def model(x, y):
    weights = {
        name: numpyro.sample(name, dist.Normal(0, 1).expand(shape).to_event(2))
        for name, shape in {"w1": (64, 20), "w2": (20, 10)}.items()
    }
    with numpyro.plate("images", x.shape[0], subsample_size=100):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=logits(weights, xb)), obs=yb)


# %%
# The sweep
# ---------
#
# All temperatures and chains are one compiled program. Metrics are averaged over draws,
# which are not kept; the average of the probabilities is the posterior predictive.

sweep = temperature_sweep(
    PseudoLangevin(model),
    [0.1, 0.3, 1.0, 3.0],
    jax.random.key(0),
    x,
    y,
    num_warmup=300,
    num_samples=100,
    num_chains=2,
    metrics={
        "train": classification_metrics(logits, x, y),
        "test": classification_metrics(logits, digits.x_test, digits.y_test),
        "p": lambda values: jax.nn.softmax(logits(values, digits.x_test)),
    },
)
plot_temperature_sweep(sweep, {"error": ["train.error", "test.error"]})
plt.show()

# %%
# These are errors of single networks: the colder, the fewer, even on the training data,
# most of whose wrong labels the coldest ones have learned by heart. (Still colder
# chains of this network stay in different modes, and the sweep warns of that.)
#
# Many networks together
# ----------------------
#
# A user of a posterior predicts with the average of its networks, not with one of them.

temperature = sweep.temperature.to_numpy()
together = [1 - accuracy(digits.y_test, p) for p in sweep.p.to_numpy()]
fig, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
ax.plot(temperature, sweep["test.error"], "o-", color="#D55E00", label="one network")
ax.plot(temperature, together, "s-", color="#0072B2", label="their average")
ax.set_xscale("log")
ax.set_ylim(bottom=0)
ax.set_xlabel("temperature")
ax.set_ylabel("test error")
ax.legend(frameon=False)
plt.show()

# %%
# Networks of temperature 1 err more often than cold ones, and their average half as
# often: they differ, and their mistakes cancel. Cold ones are all alike.

print("temperature  one network  average  R-hat")
for t, average in zip(temperature, together, strict=True):
    one = sweep.sel(temperature=t)
    print(
        f"{t:<11g}  {float(one['test.error']):<11.3f}  {average:<7.3f}"
        f"  {float(one.r_hat):.2f}"
    )
