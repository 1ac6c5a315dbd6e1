# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A trajectory with a Metropolis test keeps its target, however long its steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics.hamiltonian import hamiltonian_move

NUM = 200_000


def quartic(x):
    return jnp.sum(x**4) / 4


def exact_draws(key):
    """Draws of the density `exp(-x^4 / 4)`: the fourth power is a gamma variable."""
    key_size, key_sign = random.split(key)
    size = (4 * random.gamma(key_size, 0.25, (NUM, 1))) ** 0.25
    return size * random.rademacher(key_sign, (NUM, 1))


def moved(rate):
    draws = exact_draws(random.key(0))
    rates = jnp.full(1, rate)
    move = jax.jit(jax.vmap(lambda key, x: hamiltonian_move(key, quartic, x, rates, 3)))
    end, error = move(random.split(random.key(1), NUM), draws)
    return np.asarray(draws), np.asarray(end), np.asarray(error)


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_the_target_stays(rate):
    """
    Means of x, of x^2 (0.676) and x^4 (1) within 4 standard errors: one false alarm in
    5,000 runs of six. Seen failing with all moves accepted, and with a first kick of
    full length.
    """
    start, end, error = moved(rate)
    assert (error > 1).mean() > 0.01
    stayed = (start == end).mean()
    assert 0.02 < stayed < 0.6
    for power, mean in ((1, 0.0), (2, 0.67598), (4, 1.0)):
        values = end.astype(float) ** power
        assert abs(values.mean() - mean) < 4 * values.std() / NUM**0.5


def test_steps_that_run_away_are_refused():
    start, end, error = moved(1e6)
    assert np.isfinite(end).all()
    assert (end == start).mean() > 0.99
    assert (error > 1e3).mean() > 0.99


def test_errors_of_short_steps_are_small():
    """The error is of the second order: four times smaller steps, a quarter of it."""
    large, small = (np.median(np.abs(moved(rate)[2])) for rate in (1e-2, 2.5e-3))
    assert small < 0.4 * large < 0.01
