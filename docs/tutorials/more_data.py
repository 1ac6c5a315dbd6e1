# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Would more data change the network?
===================================

Training has ended at some weights. How much would the loss there change with one more
example? The loss-landscape criteria measure it, here for a network of NumPyro that
classifies the digits of scikit-learn.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpyro
import numpyro.distributions as dist

from numpyro_pl import datasets, find_map, landscape
from numpyro_pl.plots import plot_spectrum, plot_stabilization

# %%
# A trained network
# -----------------

data = datasets.digits()


def model(x, y):
    w1 = numpyro.sample("w1", dist.Normal(0, 0.5).expand([64, 10]).to_event(2))
    w2 = numpyro.sample("w2", dist.Normal(0, 0.5).expand([10, 10]).to_event(2))
    with numpyro.plate("images", x.shape[0], subsample_size=128):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        logits = jnp.tanh(xb @ w1) @ w2
        numpyro.sample("y", dist.Categorical(logits=logits), obs=yb)


found = find_map(
    jax.random.key(0), model, data.x_train, data.y_train, progress_bar=False
)

# %%
# What one more image would do
# ----------------------------
#
# ``from_model`` makes the loss of single images from the model. ``stabilization_curve``
# adds images in random orders, and asks what image number k + 1 changes: the mean loss
# at the solution (the first curve), and its square on average around it, in all
# directions (the squares) and along the ten steepest ones (the triangles).

loss, rows = landscape.from_model(model, data.x_train, data.y_train)
params = {name: value[0] for name, value in found.params.items()}
solution = landscape.Solution(loss, loss.unconstrain(params, rows), rows)
curve = landscape.stabilization_curve(
    solution,
    [20, 40, 80, 160, 320, 640, 1280],
    sigma=1e-2,
    eigenspace=10,
    rng_key=jax.random.key(1),
)
plot_stabilization(curve)
plt.show()

# %%
# The change falls as 1 / k, its square as 1 / k squared: the loss has settled, and more
# images of the same kind move it less and less.
#
# Steep directions
# ----------------
#
# The triangles need only the top eigenvectors of the Hessian and a closed form, the
# squares a pass over the images for each random displacement of all weights.

eigenspace = landscape.top_eigenspace(solution, 1280, dim=10, rng_key=jax.random.key(2))
plot_spectrum(eigenspace)
plt.show()
