# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What is reported of a warmup that has not settled, and what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stationary import autoregressive

from numpyro_pl.warmup.settling import (
    first_settling,
    problems,
    recorded,
    warn_of_divergences,
    warn_unless_settled,
)

NUM_WARMUP = 400


def records(potential, temperature=1.0, diverging=False):
    """
    Records of chains whose potentials have the shape (chains, draws), or whose numbers
    have the shape (chains, draws, numbers).
    """

    def chain(path):
        def step(record, x):
            i, energy = x
            new = recorded(
                record,
                i,
                NUM_WARMUP,
                jnp.atleast_1d(energy),
                jnp.asarray(temperature),
                jnp.asarray(diverging),
            )
            return new, None

        start = first_settling(jnp.ones(()), path[0].size - 1)
        draws = (jnp.arange(path.shape[0]), path)
        return jax.lax.scan(step, start, draws)[0]

    return jax.tree.map(np.asarray, jax.vmap(chain)(jnp.asarray(potential)))


def settled_chains(num_chains=4, correlation=0.9, seed=0):
    """Stationary potentials of standard deviation 1."""
    return autoregressive((num_chains, NUM_WARMUP), correlation, seed)


def found(potential, noise=0.05, **kwargs):
    record = records(potential, **kwargs)
    fractions = np.full(len(potential), noise)
    return problems(record, fractions, np.array([0.05]), np.array([1000.0]))


def test_the_record_is_that_of_the_quarters():
    path = settled_chains()
    record = records(path)
    third, last = path[:, 200:300], path[:, 300:]
    for k, quarter in enumerate((third, last)):
        np.testing.assert_array_equal(record.num_draws[:, k], 100)
        mean, square = record.mean[:, k, 0], record.square[:, k, 0]
        np.testing.assert_allclose(mean, quarter.mean(1), atol=1e-4)
        np.testing.assert_allclose(square, 100 * quarter.var(1), rtol=1e-4)


def test_draws_after_the_warmup_are_not_recorded():
    path = np.concatenate([settled_chains(), np.full((4, 50), 1e9)], 1)
    np.testing.assert_array_equal(records(path).num_draws, 100)


def test_settled_chains_are_not_reported():
    """Ten draws to forget: two of 200 runs of four chains may be reported."""
    record = records(settled_chains(num_chains=800, correlation=0.82))
    alarms = 0
    for run in range(200):
        four = jax.tree.map(lambda x, k=run: x[4 * k : 4 * k + 4], record)
        said = problems(four, np.full(4, 0.05), np.array([0.05]), np.array([1000.0]))
        alarms += bool(said)
    print("alarms", alarms)
    assert alarms <= 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fall": 0.05}, "the potential is still falling"),
        ({"apart": 5.0}, "the chains are in different places"),
        ({"temperature": 1.3}, "the kinetic temperature is 1.30 times the target"),
        ({"noise": 0.1}, "the noise fraction is 2.0 times what was asked for"),
        ({"diverging": True}, "100% of the last warmup draws diverged"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_each_problem_is_named(changes, expected):
    changes = dict(changes)
    path = settled_chains()
    path = path - changes.pop("fall", 0.0) * np.arange(NUM_WARMUP)
    path = path + changes.pop("apart", 0.0) * np.arange(4)[:, None]
    (sentence,) = found(path, **changes)
    assert sentence.startswith(expected)
    with pytest.warns(UserWarning, match="The warmup has not settled: " + expected):
        warn_unless_settled([sentence])


def test_a_site_in_which_chains_are_apart_is_named():
    """Their potentials agree."""
    paths = np.stack([settled_chains(seed=seed) for seed in range(3)], -1)
    paths[..., 2] += 5.0 * np.arange(4)[:, None]
    record = records(paths)
    (sentence,) = problems(
        record, np.full(4, 0.05), np.array([0.05]), np.ones(1), ["length", "scale"]
    )
    assert "different places" in sentence
    assert "of 'scale')" in sentence


def test_a_short_warmup_is_not_judged():
    path = settled_chains()[:, :300] - np.arange(300)
    record = records(path)
    assert problems(record, np.full(4, 0.5), np.array([0.05]), np.ones(1)) == []


def test_nothing_to_say():
    warn_unless_settled([])


def test_divergences():
    with pytest.warns(UserWarning, match="7 of 100 draws .* do not use them"):
        warn_of_divergences(7, 100)


def test_draws_that_diverged_have_no_share_in_the_temperature():
    """A single one, hot or not finite, would hide the temperature of all others."""
    record, one = first_settling(jnp.ones(()), 0), jnp.ones(1)
    for i, kinetic in enumerate([1.1, jnp.nan, 1.3, 1e12], NUM_WARMUP - 4):
        bad = not kinetic < 2
        record = recorded(record, i, NUM_WARMUP, one, kinetic, jnp.asarray(bad))
    np.testing.assert_allclose(record.temperature, 1.2, rtol=1e-6)
    assert record.divergences == 2
