# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Events of the warmup: when they are, what they set, what chains tell each other."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics import MinibatchGradient, Partition, PseudoLangevinDynamics
from numpyro_pl.warmup.adaptation import Event, adapt
from numpyro_pl.warmup.pooling import ManyChains, OneChain
from numpyro_pl.warmup.schedule import Schedule

CURVATURE = jnp.array([100.0, 1.0, 1e-3, 0.0])
NOISE = jnp.array([1e4, 0.01, 1e4, 0.0])


def gradient(curvature, noise):
    """Of a harmonic potential, with independent noise of given variances."""

    def halves(position, batch):
        (x,) = position
        sd = jnp.sqrt(2 * noise)
        return tuple((curvature * x + sd * b,) for b in batch)

    return MinibatchGradient(
        lambda key, num: random.normal(key, (num, 2, curvature.size)),
        lambda position, batch: (curvature * position[0],),
        halves,
    )


def event(chains=None, **changes):
    one = Event(True, False, 256, 100.0, 1.0, chains or OneChain())
    return one._replace(**changes)


@pytest.mark.parametrize("num_steps", [6, 100, 5000])
@pytest.mark.parametrize("num_warmup", [0, 1, 7, 500])
def test_events(num_warmup, num_steps):
    """The first one after the descent, and the last at nine tenths of the warmup."""
    plan = Schedule(num_warmup, num_steps)
    assert plan.events[0] == plan.descent_blocks
    assert (np.diff(plan.events) > 0).all()
    assert plan.events[-1] == plan.last_event <= 0.9 * plan.num_blocks
    if num_warmup:
        assert plan.burn_in_end in plan.events
    assert plan.blocks_per_draw * plan.block_steps >= num_steps
    assert plan.block_steps <= 100


def test_a_long_draw_adapts_within_itself():
    """At 5,000 steps a draw, ten scales are set before the second draw begins."""
    plan = Schedule(500, 5000)
    assert plan.descent_blocks < plan.blocks_per_draw
    assert (plan.events < plan.blocks_per_draw).sum() >= 8


def test_the_rates_of_the_descent_are_one_geometric_sequence():
    plan = Schedule(100, 50)
    rates = [plan.rates(k) for k in range(plan.descent_blocks)]
    assert rates[0][0] == pytest.approx(0.1)
    assert rates[-1][1] == pytest.approx(1e-4)
    for before, after in pairwise(rates):
        assert before[1] == pytest.approx(after[0])


def test_stages():
    plan = Schedule(100, 50)
    stages = [plan.stage(i) for i in (0, 19, 20, 49, 50, 99, 100, 5000)]
    assert stages == [
        *["descending"] * 2,
        *["heating"] * 2,
        *["adapting"] * 2,
        *["sampling"] * 2,
    ]


def test_the_running_variance_forgets_fast_only_in_the_first_half():
    plan = Schedule(100, 10)
    weights = [float(plan.variance_weight(i, 1e-3)) for i in (0, 50, 60, 90, 91)]
    assert weights == [100, 100, 200, 500, 1000]


def test_scales_meet_both_bounds():
    """
    Where noise limits, the noise fraction is the one asked for, within 4 standard
    errors of 256 minibatches (36 %); elsewhere the frequency, within the error of the
    row norms, which is none for a diagonal Hessian. A flat direction has a bound too.
    """
    dynamics = PseudoLangevinDynamics(0.1, friction=0.3, max_frequency=0.5)
    partition = Partition([dynamics])
    scales, variance = adapt(
        random.key(0),
        partition,
        gradient(CURVATURE, NOISE),
        (jnp.ones(4),),
        (jnp.zeros(4),),
        event(),
    )
    shares = np.asarray(dynamics.noise_shares(scales[0], NOISE))
    frequency = np.sqrt(dynamics.squared_frequency(scales[0]) * CURVATURE)
    print("noise shares", shares, "frequencies over the bound", frequency)
    np.testing.assert_allclose(shares[[0, 2]], 0.1, rtol=0.36)
    np.testing.assert_allclose(frequency[1], 1.0, rtol=1e-3)
    assert shares[1] < 0.1
    assert (frequency <= 1.001).all()
    assert np.isfinite(scales[0]).all()
    np.testing.assert_allclose(variance[0], NOISE, rtol=0.36)


def test_correlated_curvature_is_bounded_by_its_largest_eigenvalue():
    """Rows of a matrix of ones have norms well below its eigenvalue."""
    size = 50
    matrix = jnp.ones((size, size)) + 0.1 * jnp.eye(size)
    still = MinibatchGradient(
        lambda key, num: jnp.zeros(num), lambda x, b: (matrix @ x[0],), None
    )
    dynamics = PseudoLangevinDynamics(0.1, friction=0.3, max_frequency=0.5)
    scales, _ = adapt(
        random.key(0),
        Partition([dynamics]),
        still,
        (jnp.ones(size),),
        (jnp.zeros(size),),
        event(),
    )
    root = np.sqrt(np.asarray(dynamics.squared_frequency(scales[0]), np.float64))
    largest = np.linalg.eigvalsh(np.outer(root, root) * np.asarray(matrix))[-1]
    print("largest squared frequency over the bound", largest)
    assert 0.8 < largest < 1.05


def test_what_was_seen_on_the_way_counts_by_its_weight():
    """A running variance of three times the noise, of as many minibatches: twice."""
    partition = Partition([PseudoLangevinDynamics(0.1, 0.3, max_frequency=0.5)])
    args = random.key(0), partition, gradient(CURVATURE, NOISE), (jnp.ones(4),)
    first = adapt(*args, (3 * NOISE,), event()).noise_variance[0]
    later = event(first=False, variance_weight=256.0)
    mixed = adapt(*args, (3 * NOISE,), later).noise_variance[0]
    np.testing.assert_allclose(mixed, (first + 3 * NOISE) / 2, rtol=1e-4)
    # One that a divergence has spoilt is as good as none.
    spoilt = adapt(*args, (jnp.full(4, jnp.nan),), later).noise_variance[0]
    np.testing.assert_allclose(spoilt, first, rtol=1e-6)


def test_chains_share_scales_for_the_noise_of_all():
    """
    Chains that meet noise of 1, 2, 3 and 4: the scales are set for the mean plus a
    standard deviation, 2.5 + 1.12; during burn-in for the mean. Each goes on from its
    own variance.
    """
    dynamics = PseudoLangevinDynamics(0.1, friction=0.3, max_frequency=0.5)
    chains = ManyChains("chains")

    def run(burning_in):
        def one(key, level):
            return adapt(
                key,
                Partition([dynamics]),
                gradient(jnp.full(300, 1e-3), jnp.full(300, 1e4) * level),
                (jnp.ones(300),),
                (jnp.zeros(300),),
                event(chains, burning_in=jnp.asarray(burning_in)),
            )

        keys, levels = random.split(random.key(0), 4), jnp.arange(1.0, 5.0)
        return jax.vmap(one, axis_name="chains")(keys, levels)

    (scales,), (variance,) = run(False)
    np.testing.assert_array_equal(scales[0], scales[3])
    np.testing.assert_allclose(variance.mean(1), 1e4 * np.arange(1, 5), rtol=0.05)
    expected = 1e4 * (2.5 + np.std([1, 2, 3, 4]))
    wanted = dynamics.thermal_rate * 0.1 / expected
    np.testing.assert_allclose(scales[0].mean(), wanted, rtol=0.05)
    (scales,), _ = run(True)
    wanted = dynamics.thermal_rate * 0.1 / 2.5e4
    np.testing.assert_allclose(scales[0].mean(), wanted, rtol=0.05)
