# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The bias of steps that are too long where the curvature varies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics import (
    Langevin,
    MinibatchGradient,
    Partition,
    PseudoLangevinDynamics,
)
from numpyro_pl.dynamics.protocol import KernelDefaults
from numpyro_pl.warmup import shadow
from numpyro_pl.warmup.adaptation import Event, adapt
from numpyro_pl.warmup.pooling import ManyChains, OneChain
from numpyro_pl.warmup.settling import first_settling, problems

CURVATURE = jnp.array([100.0, 9.0, 1.0, 0.25])
DYNAMICS = PseudoLangevinDynamics(noise_fraction=0.5, max_frequency=0.5)
PARTITION = Partition((DYNAMICS,))
QUIET = MinibatchGradient(
    lambda key, num: jnp.zeros(num),
    lambda position, batch: (CURVATURE * position[0],),
    None,
)


def records(energies, counts=True, chains=None):
    """The record of a chain, or of several, after draws of these energies."""

    def of_chain(energies):
        record = shadow.first_shadow(jnp.float32)
        for row in energies:
            record = shadow.with_draw(record, row, counts, chains or OneChain())
        return record

    if chains is None:
        return of_chain(energies)
    return jax.vmap(of_chain, axis_name="chains")(energies)


def test_energy_is_an_eighth_of_the_trace():
    """Every probe gives it where the Hessian is diagonal: the sum of squared
    frequencies, here the largest allowed and three of a known ratio to it."""
    scales = PARTITION.choose_scales((jnp.zeros(4),), (jnp.full(4, 100.0),))
    found = shadow.shadow_energies(PARTITION, QUIET, (jnp.ones(4),), scales)
    expected = 0.5**2 * float(jnp.sum(CURVATURE) / 100) / 8
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.shape == (shadow.PROBES,)


@pytest.mark.parametrize("num_chains", [1, 3])
def test_spread_is_what_probes_have_in_common(num_chains):
    """The covariance of all pairs, over all draws of all chains."""
    rng = np.random.default_rng(0)
    size = (num_chains, 40, shadow.PROBES)
    energies = 3 + 0.2 * rng.normal(size=size[:2])[..., None] + rng.normal(size=size)
    energies = energies.astype(np.float32)
    covariance = np.cov(energies.reshape(-1, shadow.PROBES).T, ddof=0)
    pairs = covariance[~np.eye(shadow.PROBES, dtype=bool)]
    assert pairs.mean() > 0
    if num_chains == 1:
        found = records(energies[0]).spread
    else:
        found = records(energies, chains=ManyChains("chains")).spread
    np.testing.assert_allclose(found, pairs.mean() ** 0.5, rtol=1e-4)


def test_draws_that_diverged_or_are_not_finite_do_not_count():
    energies = np.tile(np.linspace(0, 1, 20)[:, None], (1, shadow.PROBES))
    seen = records(energies)
    assert int(seen.num_draws) == 20
    with_more = shadow.with_draw(seen, jnp.full(shadow.PROBES, 9.0), False, OneChain())
    np.testing.assert_allclose(with_more.spread, seen.spread)
    with_more = shadow.with_draw(
        seen, jnp.full(shadow.PROBES, jnp.nan), True, OneChain()
    )
    np.testing.assert_allclose(with_more.spread, seen.spread)
    assert float(seen.spread) == pytest.approx(energies[:, 0].std(), rel=1e-5)


def test_few_draws_say_nothing():
    energies = np.arange(shadow.FEWEST - 1.0)[:, None] * np.ones(shadow.PROBES)
    few = records(energies)
    assert float(few.spread) == 0
    assert float(shadow.with_new_bound(few).share) == 1


@pytest.mark.parametrize(
    ("spread", "before", "after"),
    [
        (0.0, 0.3, 0.3),
        (0.1, 1.0, 0.5),
        (0.025, 0.3, 0.6),
        (0.01, 0.9, 1.0),
        (100.0, 1.0, shadow.LEAST_CHANGE),
        (100.0, 0.02, shadow.LEAST_SHARE),
    ],
)
def test_share_follows_the_spread(spread, before, after):
    record = shadow.first_shadow(jnp.float32)
    record = record._replace(spread=jnp.float32(spread), share=jnp.float32(before))
    record = record._replace(num_draws=jnp.float32(30))
    new = shadow.with_new_bound(record)
    assert float(new.share) == pytest.approx(after)
    assert float(new.num_draws) == 0


def test_share_bounds_only_what_the_curvature_bounds():
    """Where noise makes the steps short, they stay as they are."""
    noise = jnp.array([1e4, 0.0, 0.0, 0.0])

    def halves(position, batch):
        shift = jnp.sqrt(2 * noise)
        return tuple((CURVATURE * position[0] + shift * b,) for b in batch)

    noisy = MinibatchGradient(
        lambda key, num: random.normal(key, (num, 2, 4)), QUIET.grad, halves
    )
    old, new = (
        adapt(
            random.key(0),
            PARTITION,
            noisy,
            (jnp.ones(4),),
            (jnp.zeros(4),),
            Event(True, False, 256, 100.0, 1.0, OneChain(), share),
        ).scales[0]
        for share in (1.0, 0.25)
    )
    np.testing.assert_allclose(new / old, [1.0, 0.25, 0.25, 0.25], rtol=1e-4)


def test_what_is_watched():
    """One group whose steps the warmup sets, read half a step from its gradients."""
    assert shadow.is_watched(PARTITION, 100)
    assert not shadow.is_watched(PARTITION, 30_000)
    assert not shadow.is_watched(Partition((Langevin(),)), 100)
    kick_last = DYNAMICS.bind(KernelDefaults())
    assert not shadow.is_watched(Partition((kick_last,)), 100)


def test_a_funnel_is_told():
    record = first_settling(jnp.ones(()), 0)
    wide = record.shadow._replace(spread=jnp.float32(0.4))
    record = record._replace(
        shadow=wide,
        num_draws=jnp.full(2, 60.0),
        square=jnp.ones_like(record.square),
    )
    record = jax.tree.map(lambda x: jnp.stack([x, x]), record)
    (said,) = problems(record, np.full((2, 1), 0.1), np.array([0.2]), 10)
    assert "off by 0.40 standard deviations" in said
    narrow = record._replace(
        shadow=record.shadow._replace(spread=jnp.full(2, shadow.WIDEST))
    )
    assert not problems(narrow, np.full((2, 1), 0.1), np.array([0.2]), 10)
