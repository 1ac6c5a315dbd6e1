# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Ordinary models, for which nothing in the package was tuned: networks of several shapes
and priors, hierarchical regressions, counts, a mixture. Each problem is a model, which
takes the minibatch size as a keyword, and its data.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import nn

from numpyro_pl.datasets import digits, kspin

__all__ = ["PROBLEMS", "Problem", "random_network"]


class Problem(NamedTuple):
    """A model, its positional arguments, and a minibatch size."""

    model: Callable
    args: tuple[Any, ...]
    batch: int

    @property
    def minibatch(self) -> Callable:
        """The model on minibatches."""
        return lambda *args: self.model(*args, batch=self.batch)


def standardized(x):
    """Columns with mean 0 and standard deviation 1."""
    x = np.asarray(x, np.float32)
    return (x - x.mean(0)) / x.std(0)


def rows_of(*arrays):
    """The minibatch's rows of arrays of shape (rows,) or (rows, features)."""
    taken = [numpyro.subsample(a, event_dim=a.ndim - 1) for a in arrays]
    return taken if len(taken) > 1 else taken[0]


def network(sizes, prior_sd, activation):
    """A dense network whose weights have normal priors, as a function of inputs."""
    weights = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        prior = dist.Normal(0, prior_sd(n_in))
        w = numpyro.sample(f"w{i}", prior.expand([n_in, n_out]).to_event(2))
        b = numpyro.sample(f"b{i}", dist.Normal(0, 1).expand([n_out]).to_event(1))
        weights.append((w, b))

    def apply(x):
        for i, (w, b) in enumerate(weights):
            x = x @ w + b
            x = x if i == len(weights) - 1 else activation(x)
        return x

    return apply


def unit(n_in):
    """Prior standard deviation 1, whatever the number of inputs."""
    return 1.0


def fan_in(n_in):
    """Prior standard deviation at which ReLU layers keep the size of their inputs."""
    return (2 / n_in) ** 0.5


def digits_classifier(make_network):
    """Scikit-learn's digits, by a function that samples a network."""

    def model(x, y, batch=None):
        net = make_network()
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Categorical(logits=net(xb)), obs=yb)

    data = digits()
    return Problem(model, (data.x_train, data.y_train), 100)


def digits_network(sizes, prior_sd, activation):
    """The digits by a dense network."""
    return digits_classifier(lambda: network((64, *sizes, 10), prior_sd, activation))


def digits_convolutional():
    """The digits by a small Flax network with two convolutions."""
    import flax.linen as flax_nn
    from numpyro.contrib.module import random_flax_module

    class Net(flax_nn.Module):
        @flax_nn.compact
        def __call__(self, x):
            x = x.reshape((-1, 8, 8, 1))
            x = nn.relu(flax_nn.Conv(8, (3, 3), strides=2)(x))
            x = nn.relu(flax_nn.Conv(16, (3, 3), strides=2)(x))
            return flax_nn.Dense(10)(x.reshape((x.shape[0], -1)))

    return digits_classifier(
        lambda: random_flax_module("nn", Net(), dist.Normal(), input_shape=(1, 64))
    )


def diabetes():
    """352 of the 442 rows of scikit-learn's diabetes data, standardized."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))[:352]
    return jnp.asarray(standardized(x)[rows]), jnp.asarray(standardized(y)[rows])


def network_regression(activation, student_t=False):
    """A 10-50-1 network with a noise scale to be learned."""

    def model(x, y, batch=None):
        net = network((10, 50, 1), unit, activation)
        sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, yb = rows_of(x, y)
            mean = net(xb)[..., 0]
            likelihood = (
                dist.StudentT(4.0, mean, sigma)
                if student_t
                else dist.Normal(mean, sigma)
            )
            numpyro.sample("y", likelihood, obs=yb)

    return Problem(model, diabetes(), 44)


def heteroscedastic():
    """A 10-50-50-2 network for mean and log scale of 2,000 generated rows."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 10)).astype(np.float32)
    mean = np.sin(x[:, 0]) + 0.5 * x[:, 1] * x[:, 2]
    y = mean + np.exp(-1 + 0.5 * x[:, 3]) * rng.normal(size=2000)

    def model(x, y, batch=None):
        net = network((10, 50, 50, 2), unit, jnp.tanh)
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, yb = rows_of(x, y)
            out = net(xb)
            likelihood = dist.Normal(out[..., 0], jnp.exp(out[..., 1]))
            numpyro.sample("y", likelihood, obs=yb)

    return Problem(model, (jnp.asarray(x), jnp.asarray(y, jnp.float32)), 100)


def logistic(scaled):
    """Logistic regression on the 30 columns of the breast cancer data."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = jnp.asarray(standardized(x) if scaled else x, jnp.float32)

    def model(x, y, batch=None):
        prior = dist.Normal(0, 1).expand([x.shape[1]]).to_event(1)
        w = numpyro.sample("w", prior)
        b = numpyro.sample("b", dist.Normal(0, 1))
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Bernoulli(logits=xb @ w + b), obs=yb)

    return Problem(model, (x, jnp.asarray(y)), 57)


def hierarchical(centred):
    """4,000 rows in 50 groups, half of which have fewer than five rows."""
    rng = np.random.default_rng(2)
    small = rng.integers(1, 5, size=25)
    rest = 4000 - small.sum()
    large = np.full(25, rest // 25)
    large[: rest % 25] += 1
    group = rng.permutation(np.repeat(np.arange(50), np.concatenate([small, large])))
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    effects = 0.5 + 0.8 * rng.normal(size=50)
    logits = effects[group] + x @ [1.0, -0.5]
    y = rng.random(4000) < 1 / (1 + np.exp(-logits))

    def model(x, group, y, batch=None):
        slope = numpyro.sample("slope", dist.Normal(0, 1).expand([2]).to_event(1))
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        spread = numpyro.sample("spread", dist.HalfNormal(1.0))
        with numpyro.plate("groups", 50):
            if centred:
                effect = numpyro.sample("effect", dist.Normal(mean, spread))
            else:
                effect = mean + spread * numpyro.sample("unit", dist.Normal(0, 1))
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, gb, yb = rows_of(x, group, y)
            logits = effect[gb] + xb @ slope
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=yb)

    data = (jnp.asarray(x), jnp.asarray(group), jnp.asarray(y, jnp.int32))
    return Problem(model, data, 100)


def negative_binomial():
    """Counts that are more variable than Poisson: 7 parameters, 2,000 rows."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 5)).astype(np.float32)
    mean = np.exp(1.0 + x @ [0.5, -0.3, 0.2, 0.0, 0.4])
    y = rng.poisson(mean * rng.gamma(2.0, 0.5, size=2000))

    def model(x, y, batch=None):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([5]).to_event(1))
        b = numpyro.sample("b", dist.Normal(0, 3))
        concentration = numpyro.sample("concentration", dist.Exponential(0.5))
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, yb = rows_of(x, y)
            mean = jnp.exp(xb @ w + b)
            numpyro.sample("y", dist.NegativeBinomial2(mean, concentration), obs=yb)

    return Problem(model, (jnp.asarray(x), jnp.asarray(y)), 100)


def mixture():
    """Three normals of unknown weights, locations and scales; 1,000 rows."""
    rng = np.random.default_rng(4)
    which = rng.choice(3, size=1000, p=[0.5, 0.3, 0.2])
    y = np.array([-3.0, 0.5, 4.0])[which] + np.array([0.7, 0.5, 1.0])[
        which
    ] * rng.normal(size=1000)

    def model(y, batch=None):
        weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
        loc = numpyro.sample("loc", dist.Normal(0, 5).expand([3]).to_event(1))
        scale = numpyro.sample("scale", dist.LogNormal(0, 1).expand([3]).to_event(1))
        with numpyro.plate("data", y.shape[0], subsample_size=batch):
            yb = rows_of(y)
            each = dist.Normal(loc, scale)
            numpyro.sample(
                "y", dist.MixtureSameFamily(dist.Categorical(weights), each), obs=yb
            )

    return Problem(model, (jnp.asarray(y, jnp.float32),), 100)


def kspin_network():
    """K-spin by 11,160 weights, in nats: temperatures are N times the paper's."""
    data = kspin(0, 20_000)
    decay = 1e-5 * 1_006_110 / 11_160

    def model(x, y, batch=None):
        sd = (x.shape[0] * decay) ** -0.5
        prior = dist.Normal(0, sd)
        z = numpyro.subsample
        sizes = (100, 50, 100, 10)
        ws = [
            numpyro.sample(f"w{i}", prior.expand([a, b]).to_event(2))
            for i, (a, b) in enumerate(pairwise(sizes))
        ]
        bs = [
            numpyro.sample(f"b{i}", prior.expand([b]).to_event(1))
            for i, b in enumerate(sizes[1:])
        ]
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            h, yb = z(x, event_dim=1), z(y, event_dim=0)
            for w, b in zip(ws, bs, strict=True):
                h = nn.relu(h @ w + b)
            numpyro.sample("y", dist.Categorical(logits=h), obs=yb)

    return Problem(model, (data.x, data.y), 128)


PROBLEMS = {
    "digits_relu": lambda: digits_network((50, 50), unit, nn.relu),
    "digits_relu_fan_in": lambda: digits_network((50, 50), fan_in, nn.relu),
    "digits_wide": lambda: digits_network((160, 64), fan_in, nn.relu),
    "digits_deep_tanh": lambda: digits_network((30,) * 4, unit, jnp.tanh),
    "digits_convolutional": digits_convolutional,
    "regression_relu": lambda: network_regression(nn.relu),
    "regression_student_t": lambda: network_regression(nn.silu, student_t=True),
    "heteroscedastic": heteroscedastic,
    "logistic_unscaled": lambda: logistic(scaled=False),
    "hierarchical_centred": lambda: hierarchical(centred=True),
    "hierarchical_non_centred": lambda: hierarchical(centred=False),
    "negative_binomial": negative_binomial,
    "mixture": mixture,
    "kspin": kspin_network,
}


def random_network(seed):
    """
    A random small network on random data: depth 1 to 4, width 5 to 60, five
    activations, three prior scales, three likelihoods, 200 to 2,000 rows.

    :return: (problem, settings).
    """
    rng = np.random.default_rng([7, seed])
    activations = (nn.relu, jnp.tanh, nn.silu, nn.gelu, nn.sigmoid)
    settings = {
        "depth": int(rng.integers(1, 5)),
        "width": int(rng.integers(5, 61)),
        "activation": activations[rng.integers(5)].__name__,
        "prior": ("unit", "fan-in", "wide")[rng.integers(3)],
        "likelihood": ("normal", "student", "classes")[rng.integers(3)],
        "rows": int(rng.integers(200, 2001)),
        "columns": int(rng.integers(2, 21)),
    }
    return _network_of(settings, rng, activations), settings


def _network_of(settings, rng, activations):
    prior_sd = {"unit": unit, "fan-in": fan_in, "wide": lambda n: 3 * fan_in(n)}
    prior_sd = prior_sd[settings["prior"]]
    activation = {f.__name__: f for f in activations}[settings["activation"]]
    x = rng.normal(size=(settings["rows"], settings["columns"])).astype(np.float32)
    signal = np.sin(x[:, 0] * 2) + x[:, 1] * x[:, -1]
    noisy = signal + 0.3 * rng.normal(size=len(x))
    classes = settings["likelihood"] == "classes"
    y = np.digitize(noisy, [-0.7, 0.7]) if classes else noisy.astype(np.float32)
    hidden = (settings["width"],) * settings["depth"]

    def model(x, y, batch=None):
        outputs = 3 if classes else 1
        net = network((x.shape[1], *hidden, outputs), prior_sd, activation)
        if not classes:
            sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
        with numpyro.plate("data", x.shape[0], subsample_size=batch):
            xb, yb = rows_of(x, y)
            out = net(xb)
            if classes:
                likelihood = dist.Categorical(logits=out)
            elif settings["likelihood"] == "student":
                likelihood = dist.StudentT(4.0, out[..., 0], sigma)
            else:
                likelihood = dist.Normal(out[..., 0], sigma)
            numpyro.sample("y", likelihood, obs=yb)

    batch = max(20, settings["rows"] // 20)
    return Problem(model, (jnp.asarray(x), jnp.asarray(y)), batch)
