# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
A Flax network that knows what it does not know
===============================================

A network of Flax classifies the 8 x 8 digits of scikit-learn. Its posterior is
uncertain about images that look like none of them.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import linen as nn
from numpyro import handlers
from numpyro.contrib.module import random_flax_module
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin, datasets, report
from numpyro_pl.diagnostics import accuracy, expected_calibration_error, log_loss
from numpyro_pl.plots import plot_calibration

# %%
# The model
# ---------
#
# ``random_flax_module`` gives every array of the network a prior. All else is as in any
# model with a subsampled plate.

data = datasets.digits()
module = nn.Sequential([nn.Dense(30), nn.tanh, nn.Dense(10)])


def network():
    return random_flax_module("nn", module, dist.Normal(0, 0.5), input_shape=(64,))


def model(x, y):
    net = network()
    with numpyro.plate("images", x.shape[0], subsample_size=128):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=net(xb)), obs=yb)


# %%
# The run
# -------
#
# Weights of a network are not identified: units of the hidden layer may change places.
# What counts is the potential and the predictions, so that is all that is kept of a
# draw: the class probabilities of test images, and of images that are no digits: the
# same pixels in another order.

shuffled = np.random.default_rng(0).permutation(64)
images = {"digits": data.x_test, "no_digits": data.x_test[:, shuffled]}


def probabilities(values):
    """What to keep of a draw: probabilities of shape (images, 10)."""
    net = handlers.substitute(handlers.seed(network, 0), values)()
    return {name: jax.nn.softmax(net(x)) for name, x in images.items()}


mcmc = MCMC(
    PseudoLangevin(model, collect=probabilities),
    num_warmup=150,
    num_samples=150,
    num_chains=4,
    chain_method="vectorized",
    progress_bar=False,
)
mcmc.run(jax.random.key(0), data.x_train, data.y_train)
print(report(mcmc))

# %%
# Predictions
# -----------
#
# The prediction is the mean over the draws. With this prior it is rather too cautious:
# it is right more often than it says.

draws = mcmc.get_samples()
p_test, p_none = (np.asarray(draws[name].mean(0)) for name in images)
print(f"accuracy          {accuracy(data.y_test, p_test):.3f}")
print(f"log-loss          {log_loss(data.y_test, p_test):.3f}")
print(f"calibration error {expected_calibration_error(data.y_test, p_test, 5):.3f}")
plot_calibration(data.y_test, {"posterior": p_test}, num_bins=5)
plt.show()

# %%
# Images that are no digits
# -------------------------
#
# The network has never seen anything like the shuffled pixels. The entropy of its
# probabilities is at most ln 10, where all classes are equally likely.


def entropy(p):
    return -(p * np.log(np.clip(p, 1e-12, 1))).sum(-1)


fig, ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
bins = np.linspace(0, np.log(10), 25)
ax.hist(entropy(p_test), bins, color="#0072B2", alpha=0.9, label="digits")
ax.hist(
    entropy(p_none),
    bins,
    histtype="step",
    color="#D55E00",
    linewidth=2.5,
    label="shuffled pixels",
)
ax.set_xlabel("entropy of the prediction (0: certain, 2.3: knows nothing)")
ax.set_ylabel("images")
ax.legend(frameon=False)
plt.show()

# %%
# The digits that it is least certain about are those that a person would look at twice:

doubtful = np.argsort(-entropy(p_test))[:5]
fig, axes = plt.subplots(1, 5, figsize=(6.5, 2.1), layout="constrained")
for ax, i in zip(axes, doubtful, strict=True):
    ax.imshow(np.asarray(data.x_test[i]).reshape(8, 8), cmap="gray_r")
    first, second = np.argsort(-p_test[i])[:2]
    ax.set_title(
        f"is {data.y_test[i]}\n{first}: {p_test[i, first]:.0%}, "
        f"{second}: {p_test[i, second]:.0%}",
        fontsize=10,
    )
    ax.set_axis_off()
plt.show()
