# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models as people write them for their data, on which the package was only ever run, not
developed: counts, orders, shares, times to an event, groups, items, processes. All data
are generated but the wines.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import nn
from ordinary_models import Problem, rows_of, standardized

__all__ = ["EVERYDAY"]


def vector(name: str, scale: float, size: int):
    """A vector of independent normal values."""
    return numpyro.sample(name, dist.Normal(0, scale).expand([size]).to_event(1))


def ordered(name: str, scale: float, size: int, mean: float = 0):
    """A vector of rising values, from as many normal ones by `OrderedTransform`."""
    free = dist.Normal(mean, scale).expand([size]).to_event(1)
    transform = dist.transforms.OrderedTransform()
    return numpyro.sample(name, dist.TransformedDistribution(free, transform))


def rows(*arrays) -> tuple:
    """Arrays of JAX, whole numbers as they are and others in single precision."""
    kinds = [np.asarray(a) for a in arrays]
    return tuple(
        jnp.asarray(a, jnp.int32 if a.dtype.kind in "iub" else jnp.float32)
        for a in kinds
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def robust():
    """Student-t errors with unknown degrees of freedom."""
    rng = np.random.default_rng(17)
    x = rng.normal(size=(1000, 5))
    y = x @ [1, 0, -1, 0.5, 0] + 0.5 * rng.standard_t(3, 1000)

    def model(x, y, batch=None):
        w = vector("w", 2, 5)
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.StudentT(nu, xb @ w, sigma), obs=yb)

    return Problem(model, rows(x, y), 100)


def ordinal():
    """Five ordered answers with four cut points."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(2000, 4))
    y = np.digitize(x @ [1, -0.5, 0.3, 0] + rng.logistic(size=2000), [-2, -0.5, 0.5, 2])

    def model(x, y, batch=None):
        w = vector("w", 2, 4)
        cuts = ordered("cuts", 3, 4)
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.OrderedLogistic(xb @ w, cuts), obs=yb)

    return Problem(model, rows(x, y), 100)


def zero_inflated():
    """Counts with more zeros than Poisson, whose share depends on the columns."""
    rng = np.random.default_rng(13)
    x = rng.normal(size=(2000, 3))
    there = rng.random(2000) > sigmoid(x[:, 0] - 0.5)
    y = there * rng.poisson(np.exp(0.8 + x @ [0.4, -0.3, 0.2]))

    def model(x, y, batch=None):
        w, v = vector("w", 1, 3), vector("v", 1, 3)
        a, b = (numpyro.sample(name, dist.Normal(0, 2)) for name in "ab")
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            counts = dist.Poisson(jnp.exp(xb @ w + b))
            inflated = dist.ZeroInflatedDistribution(counts, gate_logits=xb @ v + a)
            numpyro.sample("y", inflated, obs=yb)

    return Problem(model, rows(x, y), 100)


def shares():
    """Beta regression with unknown precision."""
    rng = np.random.default_rng(18)
    x = rng.normal(size=(1500, 3))
    mean = sigmoid(x @ [0.8, -0.4, 0.2])
    y = np.clip(rng.beta(8 * mean, 8 * (1 - mean)), 1e-4, 1 - 1e-4)

    def model(x, y, batch=None):
        w, b = vector("w", 2, 3), numpyro.sample("b", dist.Normal(0, 2))
        phi = numpyro.sample("phi", dist.Gamma(1, 0.1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            mean = nn.sigmoid(xb @ w + b)
            numpyro.sample("y", dist.Beta(phi * mean, phi * (1 - mean)), obs=yb)

    return Problem(model, rows(x, y), 100)


def survival():
    """Weibull times, a part of them censored, by `numpyro.factor`."""
    rng = np.random.default_rng(15)
    x = rng.normal(size=(2000, 4))
    time = np.exp(1 + x @ [0.5, -0.3, 0, 0.2]) * rng.weibull(1.5, 2000)
    end = rng.exponential(6, 2000)

    def model(x, time, seen, batch=None):
        w, b = vector("w", 1, 4), numpyro.sample("b", dist.Normal(0, 3))
        k = numpyro.sample("k", dist.LogNormal(0, 1))
        with numpyro.plate("data", len(time), subsample_size=batch):
            xb, tb, sb = rows_of(x, time, seen)
            z = k * (jnp.log(tb) - xb @ w - b)
            hazard = jnp.log(k) - jnp.log(tb) + z
            numpyro.factor("log_likelihood", sb * hazard - jnp.exp(z))

    data = rows(x, np.minimum(time, end), (time < end).astype(float))
    return Problem(model, data, 100)


def growth():
    """Saturating curves, with a limit and a half-time for each of 20 groups."""
    rng = np.random.default_rng(20)
    group, t = rng.integers(0, 20, 1200), rng.uniform(0, 10, 1200)
    top, half = np.exp([[1], [0.5]] + 0.3 * rng.normal(size=(2, 20)))
    y = top[group] * t / (half[group] + t) + 0.2 * rng.normal(size=1200)

    def model(group, t, y, batch=None):
        centre = vector("centre", 1, 2)
        spread = numpyro.sample("spread", dist.HalfNormal(0.5).expand([2]).to_event(1))
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        with numpyro.plate("groups", 20):
            top = numpyro.sample("top", dist.LogNormal(centre[0], spread[0]))
            half = numpyro.sample("half", dist.LogNormal(centre[1], spread[1]))
        with numpyro.plate("data", len(y), subsample_size=batch):
            gb, tb, yb = rows_of(group, t, y)
            mean = top[gb] * tb / (half[gb] + tb)
            numpyro.sample("y", dist.Normal(mean, sigma), obs=yb)

    return Problem(model, rows(group, t, y), 100)


def wines():
    """Softmax regression on 178 wines with 13 columns."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)

    def model(x, y, batch=None):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([13, 3]).to_event(2))
        b = vector("b", 1, 3)
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Categorical(logits=xb @ w + b), obs=yb)

    return Problem(model, rows(standardized(x), y), 30)


def correlated_groups():
    """Correlated intercepts and slopes of 60 groups (LKJ)."""
    rng = np.random.default_rng(11)
    group, x = rng.integers(0, 60, 2000), rng.normal(size=2000)
    effects = rng.multivariate_normal([1, -0.5], [[0.5, 0.3], [0.3, 0.4]], 60)
    y = effects[group, 0] + effects[group, 1] * x + 0.7 * rng.normal(size=2000)

    def model(group, x, y, batch=None):
        mean = vector("mean", 2, 2)
        spread = numpyro.sample("spread", dist.HalfNormal(1).expand([2]).to_event(1))
        factor = spread[:, None] * numpyro.sample("factor", dist.LKJCholesky(2, 2.0))
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        with numpyro.plate("groups", 60):
            of_group = dist.MultivariateNormal(mean, scale_tril=factor)
            effects = numpyro.sample("effects", of_group)
        with numpyro.plate("data", len(y), subsample_size=batch):
            gb, xb, yb = rows_of(group, x, y)
            mean = effects[gb, 0] + effects[gb, 1] * xb
            numpyro.sample("y", dist.Normal(mean, sigma), obs=yb)

    return Problem(model, rows(group, x, y), 100)


def spectral_process():
    """A Gaussian process by 30 functions, with unknown length and amplitude."""
    rng = np.random.default_rng(19)
    x = rng.uniform(-1, 1, 2000)
    y = np.sin(4 * x) + 0.5 * np.cos(9 * x) + 0.3 * rng.normal(size=2000)
    half = 1.3
    frequency = np.arange(1, 31) * np.pi / (2 * half)
    basis = np.sin(frequency * (x[:, None] + half)) / half**0.5

    def model(basis, y, batch=None):
        length = numpyro.sample("length", dist.InverseGamma(3, 1))
        amplitude = numpyro.sample("amplitude", dist.HalfNormal(2))
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        density = length * jnp.exp(-0.5 * (length * frequency) ** 2)
        w = amplitude * (2 * jnp.pi) ** 0.25 * jnp.sqrt(density) * vector("z", 1, 30)
        with numpyro.plate("data", len(y), subsample_size=batch):
            bb, yb = rows_of(basis, y)
            numpyro.sample("y", dist.Normal(bb @ w, sigma), obs=yb)

    return Problem(model, rows(basis, y), 100)


def responses():
    """100 students and 30 items that differ in difficulty and discrimination."""
    rng = np.random.default_rng(10)
    student, item = np.repeat(np.arange(100), 30), np.tile(np.arange(30), 100)
    ability, difficulty = rng.normal(size=100), 1.2 * rng.normal(size=30)
    slope = np.exp(0.4 * rng.normal(size=30))
    y = rng.random(3000) < sigmoid(slope[item] * (ability[student] - difficulty[item]))

    def model(student, item, y, batch=None):
        with numpyro.plate("students", 100):
            ability = numpyro.sample("ability", dist.Normal(0, 1))
        with numpyro.plate("items", 30):
            slope = numpyro.sample("slope", dist.LogNormal(0, 0.5))
            difficulty = numpyro.sample("difficulty", dist.Normal(0, 2))
        with numpyro.plate("data", len(y), subsample_size=batch):
            sb, ib, yb = rows_of(student, item, y)
            logits = slope[ib] * (ability[sb] - difficulty[ib])
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=yb)

    return Problem(model, rows(student, item, y), 150)


EVERYDAY: dict[str, Callable[[], Problem]] = {
    one.__name__: one
    for one in (
        robust,
        ordinal,
        zero_inflated,
        shares,
        survival,
        growth,
        wines,
        correlated_groups,
        spectral_process,
        responses,
    )
}
"""Problems by name."""
