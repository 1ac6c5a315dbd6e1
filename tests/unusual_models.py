# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models with something that samplers find hard: symmetries, heavy tails, funnels, flat
priors, columns of very different size, latent walks, several plates. Nothing in the
package was developed on them. All data are generated.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from everyday_models import ordered, rows, sigmoid, vector
from jax import nn
from ordinary_models import Problem, rows_of

__all__ = ["UNUSUAL"]


def factors():
    """Three factors of 60 users and 80 films, which may be swapped and turned."""
    rng = np.random.default_rng(14)
    user, film = rng.integers(0, 60, 3000), rng.integers(0, 80, 3000)
    a, b = rng.normal(size=(60, 3)), rng.normal(size=(80, 3))
    y = 3.5 + 0.6 * (a[user] * b[film]).sum(1) + 0.5 * rng.normal(size=3000)

    def model(user, film, y, batch=None):
        mean = numpyro.sample("mean", dist.Normal(3, 2))
        sigma, scale = (
            numpyro.sample(name, dist.HalfNormal(1)) for name in ("sigma", "scale")
        )
        a = numpyro.sample("a", dist.Normal(0, 1).expand([60, 3]).to_event(2))
        b = numpyro.sample("b", dist.Normal(0, 1).expand([80, 3]).to_event(2))
        with numpyro.plate("data", len(y), subsample_size=batch):
            ub, fb, yb = rows_of(user, film, y)
            fitted = mean + scale * (a[ub] * b[fb]).sum(-1)
            numpyro.sample("y", dist.Normal(fitted, sigma), obs=yb)

    return Problem(model, rows(user, film, y), 150)


def sparse():
    """A horseshoe: 40 columns, of which four count."""
    rng = np.random.default_rng(16)
    x, w = rng.normal(size=(600, 40)), np.zeros(40)
    w[:4] = 2, -1.5, 1, 0.7
    y = x @ w + rng.normal(size=600)

    def model(x, y, batch=None):
        of_all = numpyro.sample("of_all", dist.HalfCauchy(0.1))
        of_each = numpyro.sample("of_each", dist.HalfCauchy(1).expand([40]).to_event(1))
        sigma = numpyro.sample("sigma", dist.HalfNormal(2))
        w = numpyro.deterministic("w", of_all * of_each * vector("z", 1, 40))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Normal(xb @ w, sigma), obs=yb)

    return Problem(model, rows(x, y), 60)


def layers_of_unknown_size():
    """A network whose layers have prior scales of their own."""
    rng = np.random.default_rng(21)
    x = rng.normal(size=(1000, 8))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=1000)

    def model(x, y, batch=None):
        s0, s1, sigma = (
            numpyro.sample(name, dist.HalfNormal(1)) for name in ("s0", "s1", "sigma")
        )
        w0 = numpyro.sample("w0", dist.Normal(0, s0).expand([8, 20]).to_event(2))
        b0, w1 = vector("b0", 1, 20), vector("w1", s1, 20)
        b1 = numpyro.sample("b1", dist.Normal(0, 1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            mean = jnp.tanh(xb @ w0 + b0) @ w1 + b1
            numpyro.sample("y", dist.Normal(mean, sigma), obs=yb)

    return Problem(model, rows(x, y), 100)


def mixed_counts():
    """Counts of three kinds, with unknown shares and rates in order."""
    rng = np.random.default_rng(22)
    y = rng.poisson(np.array([1.0, 6.0, 20.0])[rng.choice(3, 2000, p=[0.5, 0.3, 0.2])])

    def model(y, batch=None):
        shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
        log_rates = ordered("log_rates", 1, 3, mean=1)
        with numpyro.plate("data", len(y), subsample_size=batch):
            mixture = dist.MixtureSameFamily(
                dist.Categorical(probs=shares), dist.Poisson(jnp.exp(log_rates))
            )
            numpyro.sample("y", mixture, obs=rows_of(y))

    return Problem(model, rows(y), 100)


def volatility():
    """Stochastic volatility of 500 days: a latent walk, and no minibatches."""
    rng = np.random.default_rng(23)
    log_sd = np.cumsum(0.1 * rng.normal(size=500)) - 1
    y = np.exp(log_sd) * rng.standard_t(8, 500)

    def model(y, batch=None):
        step = numpyro.sample("step", dist.Exponential(10))
        nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
        start = numpyro.sample("start", dist.Normal(0, 2))
        walk = numpyro.sample("walk", dist.Normal(0, 1).expand([500]).to_event(1))
        sd = jnp.exp(start + step * jnp.cumsum(walk))
        with numpyro.plate("days", len(y)):
            numpyro.sample("y", dist.StudentT(nu, 0, sd), obs=y)

    return Problem(model, rows(y), 500)


def flat():
    """A regression with improper priors."""
    rng = np.random.default_rng(24)
    x = rng.normal(size=(1000, 6))
    y = x @ [3, -2, 1, 0, 0, 10] + 5 + 2 * rng.normal(size=1000)

    def model(x, y, batch=None):
        real, positive = dist.constraints.real, dist.constraints.positive
        w = numpyro.sample("w", dist.ImproperUniform(real, (), (6,)))
        b = numpyro.sample("b", dist.ImproperUniform(real, (), ()))
        sigma = numpyro.sample("sigma", dist.ImproperUniform(positive, (), ()))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Normal(xb @ w + b, sigma), obs=yb)

    return Problem(model, rows(x, y), 100)


def separated():
    """A logistic regression with Cauchy priors and a column that nearly separates."""
    rng = np.random.default_rng(25)
    x = rng.normal(size=(500, 5))
    y = x[:, 0] + 0.02 * rng.normal(size=500) > 0

    def model(x, y, batch=None):
        w = numpyro.sample("w", dist.Cauchy(0, 2.5).expand([5]).to_event(1))
        b = numpyro.sample("b", dist.Cauchy(0, 10))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Bernoulli(logits=xb @ w + b), obs=yb)

    return Problem(model, rows(x, y), 50)


def as_measured():
    """A regression on columns in their units: years, money, a share."""
    rng = np.random.default_rng(26)
    age = 45 + 12 * rng.normal(size=1500)
    income = np.exp(10.5 + 0.4 * rng.normal(size=1500))
    share = rng.beta(2, 8, 1500)
    y = 120 + 0.5 * age + 2e-4 * income - 30 * share + 8 * rng.normal(size=1500)

    def model(x, y, batch=None):
        w, b = vector("w", 100, 3), numpyro.sample("b", dist.Normal(0, 200))
        sigma = numpyro.sample("sigma", dist.HalfNormal(20))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Normal(xb @ w + b, sigma), obs=yb)

    return Problem(model, rows(np.stack([age, income, share], 1), y), 100)


def crossed():
    """Votes with effects of 50 states, 6 ages and 4 schools, and their scales."""
    rng = np.random.default_rng(27)
    sizes = {"state": 50, "age": 6, "school": 4}
    groups = [rng.integers(0, n, 4000) for n in sizes.values()]
    logits = sum(0.5 * rng.normal(size=1 + g.max())[g] for g in groups) - 0.3
    y = rng.random(4000) < sigmoid(logits)

    def model(*data, batch=None):
        effects = []
        for name, size in sizes.items():
            sd = numpyro.sample(f"sd_{name}", dist.HalfNormal(1))
            with numpyro.plate(f"{name}s", size):
                effects.append(numpyro.sample(name, dist.Normal(0, sd)))
        b = numpyro.sample("b", dist.Normal(0, 2))
        with numpyro.plate("data", 4000, subsample_size=batch):
            *groups, yb = rows_of(*data)
            logits = b + sum(e[g] for e, g in zip(effects, groups, strict=True))
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=yb)

    return Problem(model, rows(*groups, y), 200)


def change():
    """A mean that changes at an unknown time, at an unknown speed."""
    rng = np.random.default_rng(28)
    t = rng.uniform(0, 10, 800)
    y = 1 + 2 * sigmoid(3 * (t - 6.3)) + 0.5 * rng.normal(size=800)

    def model(t, y, batch=None):
        time = numpyro.sample("time", dist.Uniform(0, 10))
        speed = numpyro.sample("speed", dist.LogNormal(0, 1))
        before, after = (
            numpyro.sample(name, dist.Normal(0, 5)) for name in ("before", "after")
        )
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            tb, yb = rows_of(t, y)
            mean = before + (after - before) * nn.sigmoid(speed * (tb - time))
            numpyro.sample("y", dist.Normal(mean, sigma), obs=yb)

    return Problem(model, rows(t, y), 80)


def two_sources():
    """One set of coefficients, and two data sets of different size and precision."""
    rng = np.random.default_rng(29)
    x, u = rng.normal(size=(2000, 3)), rng.normal(size=(300, 3))
    w = np.array([1.0, -1.0, 0.5])
    y, v = x @ w + 2 * rng.normal(size=2000), rng.poisson(np.exp(u @ w))

    def model(x, y, u, v, batch=None):
        w = vector("w", 2, 3)
        sigma = numpyro.sample("sigma", dist.HalfNormal(3))
        with numpyro.plate("measured", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Normal(xb @ w, sigma), obs=yb)
        with numpyro.plate("counted", len(v), subsample_size=batch and 30):
            ub, vb = rows_of(u, v)
            numpyro.sample("v", dist.Poisson(jnp.exp(ub @ w)), obs=vb)

    return Problem(model, rows(x, y, u, v), 200)


UNUSUAL: dict[str, Callable[[], Problem]] = {
    one.__name__: one
    for one in (
        factors,
        sparse,
        layers_of_unknown_size,
        mixed_counts,
        volatility,
        flat,
        separated,
        as_measured,
        crossed,
        change,
        two_sources,
    )
}
"""Problems by name."""
