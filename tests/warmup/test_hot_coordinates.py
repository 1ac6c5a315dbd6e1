# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A few coordinates whose steps are too long: they alone are slowed. Chains at a wall are
also run with the guard switched off, and there all their steps are slow.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin
from numpyro_pl.dynamics import PseudoLangevinDynamics
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.warmup import control

CHAINS, SIZE = 6, 300


def wall(z):
    """Harmonic, but for a wall at 1 that only the first coordinate meets."""
    beyond = jax.nn.relu(z[0] - 1.0)
    return 0.5 * jnp.sum(z**2) + 5e3 * beyond**2


def after_a_warmup():
    """
    Factors on the steps, rates of the first coordinate, and median rates of all, each
    of shape (CHAINS,) and relative to that of a coordinate without a wall.
    """
    kernel = PseudoLangevin(potential_fn=wall, num_steps=100, warn=False)
    mcmc = MCMC(
        kernel,
        num_warmup=200,
        num_samples=1,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    start = 0.1 * jax.random.normal(jax.random.key(1), (CHAINS, SIZE))
    mcmc.run(jax.random.key(0), init_params=start)
    state = mcmc.last_state
    rates = np.asarray(jax.tree.leaves(state.scales)[0])
    dynamics = kernel.dynamics
    free = (1 + dynamics.kept_momentum) * dynamics.max_frequency**2 / 2
    return (
        np.asarray(state.control.factor),
        rates[:, 0] / free,
        np.median(rates, 1) / free,
    )


def test_a_coordinate_that_meets_a_wall_is_slowed_and_no_other():
    """
    At most places the wall does not show in the curvature. Chains that were thrown off
    it step a hundred times more slowly along it, and nowhere else.
    """
    factor, first, others = after_a_warmup()
    assert (first < 0.03).all()
    assert (factor > 0.3).all()
    np.testing.assert_allclose(others, factor, rtol=0.1)


def test_without_the_guard_one_coordinate_slows_all(monkeypatch):
    never = jnp.asarray(False)
    monkeypatch.setattr(control, "concentrated", lambda *args: never)
    factor, _, _ = after_a_warmup()
    assert (factor < 0.1).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_heat_by_coordinate(temperature):
    """
    Momenta in equilibrium, but for one of 100 times its mean square: its rate is cut to
    a quarter. Of the bulk it counts as warm; one that is not finite counts as well.
    """
    one = PseudoLangevinDynamics(0.1, 0.05, temperature, 0.5)
    dynamics = Partition([one])
    rates = jnp.asarray(np.random.default_rng(0).uniform(1e-6, 1.0, 5000), jnp.float32)
    mean_square = rates * 2 * temperature / (1 + math.exp(-0.05))
    square = np.random.default_rng(1).chisquare(1, 5000)
    square[7], square[8] = 100.0, np.inf
    momentum = jnp.sqrt(mean_square * jnp.asarray(square, jnp.float32))
    bulk, peak = dynamics.bulk_and_peak((momentum,), (rates,))
    counted = np.minimum(square, 25.0).mean() * temperature
    assert float(bulk) == pytest.approx(counted, rel=1e-4)
    assert float(peak) == pytest.approx(1e4 * temperature)
    (new,) = dynamics.limited((rates,), (jnp.zeros_like(rates),), (momentum,))
    expected = np.ones(5000)
    expected[7], expected[8] = 0.25, 0.0025
    np.testing.assert_allclose(new / rates, expected, rtol=1e-4)


def test_rates_within_a_ratio_of_their_array():
    """Of 1 and three times 0.01 the harmonic mean is 4 / 301."""
    dynamics = Partition([PseudoLangevinDynamics(0.1, 0.05, 1.0, 0.5)])
    rates = {"a": jnp.asarray([1.0, 0.01, 0.01, 0.01]), "b": jnp.asarray([5.0, 5.0])}
    (new,) = dynamics.evened((rates,), jnp.asarray(10.0))
    np.testing.assert_allclose(new["a"], [40 / 301, 0.01, 0.01, 0.01], rtol=1e-5)
    np.testing.assert_allclose(new["b"], 5.0, rtol=1e-6)
    (stopped,) = dynamics.evened((jnp.asarray([0.0, 1.0]),), jnp.asarray(10.0))
    np.testing.assert_allclose(stopped, [0.0, 1.0], rtol=1e-6)
    (same,) = dynamics.evened((rates,), jnp.asarray(control.NO_RATIO))
    np.testing.assert_array_equal(same["a"], rates["a"])


def test_the_ratio_follows_coordinates_that_fly():
    """At the first one a million; then less each time, and more slowly back."""
    now = control.first_control(jnp.zeros(()), jnp.ones(()))
    assert float(control.with_ratio(now, False, True).ratio) == float(now.ratio)
    ratios = []
    for flew in (True, True, False, True):
        now = control.with_ratio(now, jnp.asarray(flew), True)
        ratios.append(float(now.ratio))
    np.testing.assert_allclose(ratios, [1e6, 5e5, 5.1e5, 2.55e5], rtol=1e-5)
    late = control.with_ratio(now, jnp.asarray(False), False)
    assert float(late.ratio) == ratios[-1]
    for _ in range(20):
        now = control.with_ratio(now, jnp.asarray(True), True)
    assert float(now.ratio) == control.LEAST_RATIO


def test_heat_of_all_is_not_concentrated():
    def found(bulk, peak):
        return bool(control.concentrated(jnp.asarray(bulk), peak, 1.0, 1000.0))

    assert found(1.0, 60.0)
    assert not found(1.0, 40.0)
    assert not found(1.6, 60.0)
    assert not found(jnp.inf, 60.0)
    assert not found(jnp.nan, 60.0)
