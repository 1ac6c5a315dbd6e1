# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Models with discrete latent sites, for which nothing in the package was tuned."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from everyday_models import rows, sigmoid, vector
from ordinary_models import Problem, rows_of

__all__ = ["DISCRETE"]

DISASTERS = (
    "45401434063340263354531441553425223421322111130010110031"
    "0322011101010002100011023311211112420014000100000100101"
)
"""Coal-mining disasters in Great Britain, for each year from 1851 to 1959."""


def disasters():
    """Poisson counts whose rate changes in an unknown year."""
    y = np.array([int(count) for count in DISASTERS])

    def model(y, batch=None):
        early = numpyro.sample("early", dist.Exponential(1.0))
        late = numpyro.sample("late", dist.Exponential(1.0))
        change = numpyro.sample("change", dist.DiscreteUniform(0, len(y) - 1))
        rate = jnp.where(jnp.arange(len(y)) < change, early, late)
        with numpyro.plate("years", len(y)):
            numpyro.sample("y", dist.Poisson(rate), obs=y)

    return Problem(model, rows(y), 0)


def visitors():
    """Counts of those who were there, where nobody wrote down who was."""
    rng = np.random.default_rng(5)
    x = np.c_[np.ones(5000), rng.normal(size=(5000, 3))]
    there = rng.random(5000) < sigmoid(0.3 - 0.8 * x[:, 1])
    y = there * rng.poisson(np.exp(x @ [0.5, 0.3, -0.2, 0.4]))

    def model(x, y, batch=None):
        w, v = vector("w", 1, 4), vector("v", 1, 2)
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            z = numpyro.sample("there", dist.Bernoulli(logits=xb[:, :2] @ v))
            numpyro.sample("y", dist.Poisson(jnp.exp(xb @ w) * z + 1e-8), obs=yb)

    return Problem(model, rows(x, y), 100)


def hidden_states():
    """Eight times of 800 series that change between two states."""
    rng = np.random.default_rng(6)
    state = np.zeros((800, 8), int)
    for t in range(1, 8):
        chance = np.where(state[:, t - 1] == 1, 0.7, 0.1)
        state[:, t] = rng.random(800) < chance
    x = rng.normal(2.0 * state)

    def model(x, batch=None):
        stay = jnp.array([[4.0, 1.0], [1.0, 4.0]])
        move = numpyro.sample("move", dist.Dirichlet(stay).to_event(1))
        low = numpyro.sample("low", dist.Normal(0, 1))
        gap = numpyro.sample("gap", dist.HalfNormal(3))
        sd = numpyro.sample("sd", dist.HalfNormal(2))
        loc = jnp.stack([low, low + gap])
        with numpyro.plate("series", len(x), subsample_size=batch):
            xb, z = rows_of(x), 0
            for t in range(x.shape[1]):
                z = numpyro.sample(f"z{t}", dist.Categorical(move[z]))
                numpyro.sample(f"x{t}", dist.Normal(loc[z], sd), obs=xb[:, t])

    return Problem(model, rows(x), 50)


def raters():
    """300 items in four classes, and five raters who err, each in his own way."""
    rng = np.random.default_rng(7)
    truth = rng.choice(4, 300, p=[0.4, 0.3, 0.2, 0.1])
    guess = rng.integers(0, 4, (5, 300))
    y = np.where(rng.random((5, 300)) < 0.75, truth, guess)

    def model(y, batch=None):
        share = numpyro.sample("share", dist.Dirichlet(jnp.ones(4)))
        mean = numpyro.sample("mean", dist.Normal(2 * jnp.eye(4), 1).to_event(2))
        tau = numpyro.sample("tau", dist.HalfNormal(0.5))
        with numpyro.plate("each", 5):
            own = dist.Normal(0, 1).expand([4, 4]).to_event(2)
            answers = mean + tau * numpyro.sample("own", own)
        with numpyro.plate("items", y.shape[1], subsample_size=batch, dim=-1):
            yb = numpyro.subsample(y, event_dim=0)
            z = numpyro.sample("z", dist.Categorical(share))
            with numpyro.plate("raters", 5, dim=-2):
                logits = answers[jnp.arange(5)[:, None], z]
                numpyro.sample("y", dist.Categorical(logits=logits), obs=yb)

    return Problem(model, rows(y), 50)


DISCRETE: dict[str, Callable[[], Problem]] = {
    make.__name__: make for make in (disasters, visitors, hidden_states, raters)
}
"""Functions that make each model and its data."""
