# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Friction from the examples: its force, and that it never adds energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics import (
    MinibatchGradient,
    Phase,
    PseudoLangevinDynamics,
    Trajectory,
    integrate,
)
from numpyro_pl.dynamics.friction import (
    example_friction,
    friction_share,
    limited,
    slowed_gradient,
)

ROWS, BATCH = 40, 8
X = random.normal(random.key(0), (ROWS, 3)) * jnp.array([1.0, 2.0, 0.5])
Y = random.normal(random.key(1), (ROWS,))


def losses(position, rows):
    """Negative log likelihoods of the rows of a linear regression, times N / B."""
    residual = Y[rows] - X[rows] @ position["w"]
    return ROWS / BATCH * 0.5 * residual**2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_force_dissipates_the_noise(temperature):
    """
    Its mean over minibatches is `V u / (2 T)`, with the covariance V of the minibatch
    gradient; here over 200,000 minibatches, within 4 standard errors.
    """
    position = {"w": jnp.array([0.3, -0.2, 0.1])}
    u = jnp.array([0.01, -0.03, 0.02])
    num = 200_000
    rows = random.randint(random.key(2), (num, BATCH), 0, ROWS)

    @jax.vmap
    def force(rows):
        return example_friction(
            lambda z: losses(z, rows), position, {"w": u}, temperature
        )["w"]

    @jax.vmap
    def slope(rows):
        return jax.grad(lambda z: losses(z, rows).sum())(position)["w"]

    forces = np.asarray(force(rows), float)
    covariance = np.cov(np.asarray(slope(rows), float).T)
    expected = covariance @ np.asarray(u, float) / (2 * temperature)
    error = forces.std(0) / num**0.5
    np.testing.assert_array_less(np.abs(forces.mean(0) - expected), 4 * error)
    # The check sees a factor of two.
    assert (np.abs(2 * forces.mean(0) - expected) > 20 * error).any()


def test_plates_have_friction_of_their_own():
    """
    The force of two plates is the sum of that of each, with the friction alone and with
    the gradient; a mean over all rows would be wrong by far.
    """
    position, u = {"w": jnp.array([0.3, -0.2, 0.1])}, {"w": jnp.array([0.1, -0.3, 0.2])}
    rows = jnp.arange(BATCH), jnp.arange(BATCH, BATCH + 3)

    def both(z):
        return jnp.concatenate([losses(z, rows[0]), 5 + 4 * losses(z, rows[1])])

    apart = [
        example_friction(lambda z: losses(z, rows[0]), position, u, 1.0)["w"],
        example_friction(lambda z: 4 * losses(z, rows[1]), position, u, 1.0)["w"],
    ]
    shares = ((1, BATCH), (1, 3))
    force = example_friction(both, position, u, 1.0, shares)["w"]
    np.testing.assert_allclose(force, apart[0] + apart[1], rtol=1e-5)
    wrong = example_friction(both, position, u, 1.0)["w"]
    assert float(jnp.max(jnp.abs(wrong / force - 1))) > 0.1

    def with_potential(z):
        return both(z).sum(), both(z)

    small = {"w": 1e-3 * u["w"]}
    gradient = jax.grad(lambda z: both(z).sum())(position)["w"]
    slower = slowed_gradient(with_potential, position, small, 1.0, shares)["w"]
    # What is left of the gradient's seven digits.
    np.testing.assert_allclose(slower - gradient, 1e-3 * force, rtol=2e-2)


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3, 1e6])
def test_it_takes_energy_out_whatever_its_strength(strength):
    """In thermal units, and as much as the first order times the share squared."""
    rates = jnp.array([0.1, 0.01, 1.0])
    position = {"w": jnp.array([0.3, -0.2, 0.1])}
    u = {"w": jnp.array([0.01, -0.03, 0.02])}
    rows = jnp.arange(BATCH)
    force = example_friction(lambda z: strength * losses(z, rows), position, u, 1.0)
    share = friction_share(u, force, {"w": rates})
    assert 0 < float(share) < 1

    def energy(u):
        return float(jnp.sum(u**2 / rates))

    first_order = 2 * float(jnp.sum(force["w"] * u["w"]))
    slower = energy(u["w"] - share * rates * force["w"])
    expected = energy(u["w"]) - float(share) ** 2 * first_order
    assert slower < energy(u["w"])
    assert slower == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("value", [0.0, jnp.inf, jnp.nan])
def test_no_share_of_a_force_that_does_not_exist(value):
    u, rates = jnp.ones(3), jnp.ones(3)
    assert float(friction_share(u, jnp.full(3, value), rates)) == 0.0


def parts(position, rows):
    """Potential on a minibatch with a prior, and the losses."""
    each = losses(position, rows)
    return each.sum() + 0.5 * jnp.sum(position["w"] ** 2), each


POSITION = {"w": jnp.array([0.3, -0.2, 0.1])}
ON_ROWS = jnp.arange(BATCH)


def slowed(displacement, temperature=1.0):
    return slowed_gradient(
        lambda z: parts(z, ON_ROWS), POSITION, {"w": displacement}, temperature
    )["w"]


PLAIN = jax.grad(lambda z: parts(z, ON_ROWS)[0])(POSITION)["w"]


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_one_reverse_pass_gives_gradient_and_force(temperature):
    # Weights are below 0.1 here, and limited by less than one in ten thousand.
    u = jnp.array([0.001, -0.003, 0.002])
    force = example_friction(
        lambda z: losses(z, ON_ROWS), POSITION, {"w": u}, temperature
    )["w"]
    np.testing.assert_allclose(slowed(u, temperature) - PLAIN, force, rtol=1e-3)
    assert float(jnp.max(jnp.abs(force))) > 1e-3


def test_without_a_displacement_the_gradient_is_unbiased():
    np.testing.assert_allclose(slowed(jnp.zeros(3)), PLAIN, rtol=1e-6)


def test_opposite_displacements_bias_nothing():
    """However strong: the weights are odd."""
    u = jnp.array([1.0, -3.0, 2.0])
    mean = 0.5 * (slowed(u) + slowed(-u))
    np.testing.assert_allclose(mean, PLAIN, rtol=1e-4)
    assert float(jnp.max(jnp.abs(slowed(u) - PLAIN))) > 1


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2, 1e8, jnp.inf])
def test_limited_weights(strength):
    """At most one, small ones unchanged, strong ones nearly none; without a mean."""
    first_order = strength * jnp.array([1.0, -1.0, 0.5, -0.5])
    weights = np.asarray(limited(first_order))
    assert abs(weights).max() < 1
    assert weights.sum() == pytest.approx(0, abs=1e-6)
    if strength < 0.1:
        np.testing.assert_allclose(weights, first_order, rtol=1e-6)
    if strength > 10:
        assert abs(weights).max() < 0.1


@pytest.mark.parametrize(
    ("strength", "most"), [(0.1, -0.9), (1.0, -0.35), (4.0, 0.0), (30.0, 0.125)]
)
def test_energy_from_friction_of_one_row(strength, most):
    """
    One row has all of the noise. The mean change of the energy of thermal displacements
    along its gradient, relative to what its noise adds; to first order it is `strength
    / 2 - 1`. Standard errors are below 0.02.
    """
    z = np.random.default_rng(0).normal(size=20_000)
    first_order = jnp.asarray(z * (strength / 2) ** 0.5)
    # Beside a row whose gradient is the opposite, the mean of the weights is 0.
    weights = jax.vmap(limited)(jnp.stack([first_order, -first_order], 1))[:, 0]
    after = z - (2 * strength) ** 0.5 * np.asarray(weights)
    assert (after**2 - z**2).mean() / (2 * strength) < most + 0.02


@pytest.mark.parametrize(
    ("remainder", "expected"), [(0.0, 1.5), (0.6, 1.2), (1.0, 1.0)]
)
def test_the_thermostat_leaves_out_the_remainder(remainder, expected):
    """
    With a friction of nothing the noise, at a noise fraction of 0.5, heats as much as
    the thermostat does not leave out. 500 chains of 20 coordinates, 4 standard
    errors.
    """
    dynamics = PseudoLangevinDynamics(friction=0.5)
    rate = jnp.full(20, 0.05)
    variance = 0.5 * dynamics.thermal_rate / rate
    sd = jnp.sqrt(variance)

    def halves(x, noise):
        return tuple(x + 2**0.5 * sd * noise[i] for i in range(2))

    gradient = MinibatchGradient(
        lambda key, num: random.normal(key, (num, 2, 20)),
        lambda x, noise: x + sd * noise.sum(0) / 2**0.5,
        halves,
        friction=lambda x, batch, u, temperature: jnp.zeros_like(x),
    )

    def square(key):
        start = Phase(jnp.zeros(20), jnp.zeros(20), variance)
        plan = Trajectory(100, 1, 0.0, remainder=remainder)
        end, _ = integrate(key, dynamics, gradient, start, rate, plan)
        return jnp.mean(end.position**2)

    squares = jax.jit(jax.vmap(square))(random.split(random.key(0), 500))
    error = expected * (2 / 10_000) ** 0.5
    assert abs(float(squares.mean()) - expected) < 4 * error


def test_the_temperature_is_that_of_the_positions():
    """
    At a friction of 0.5 per step, and noise that adds 0.05 to a momentum of variance 1,
    momenta are 3 % hotter than positions. The kinetic temperature is that of the
    positions, within 0.5 % and 4 standard errors; the positions have temperature 1.
    500 chains of 20 coordinates of frequency 0.5, 40 nearly independent draws.
    """
    kick, frequency = 0.05, 0.5
    dynamics = PseudoLangevinDynamics(friction=0.5)
    c = dynamics.kept_momentum
    rate = jnp.full(20, (1 + c) * frequency**2 / 2)
    variance = 2 * kick / ((1 + c) * rate)
    sd = jnp.sqrt(variance)
    gradient = MinibatchGradient(
        lambda key, num: random.normal(key, (num, 2, 20)),
        lambda x, noise: x + sd * noise.sum(0) / 2**0.5,
        lambda x, noise: tuple(x + 2**0.5 * sd * noise[i] for i in range(2)),
        friction=lambda x, batch, u, temperature: variance * u / (2 * temperature),
    )

    def chain(key):
        def draw(phase, key):
            plan = Trajectory(10, 1, 0.0)
            phase, kinetic = integrate(key, dynamics, gradient, phase, rate, plan)
            return phase, (jnp.mean(phase.position**2), kinetic)

        start = Phase(jnp.zeros(20), jnp.zeros(20), variance)
        _, figures = jax.lax.scan(draw, start, random.split(key, 60))
        return jax.tree.map(lambda x: x[20:].mean(), figures)

    figures = jax.jit(jax.vmap(chain))(random.split(random.key(0), 500))
    for values in figures:
        error = float(values.std()) / 500**0.5
        assert abs(float(values.mean()) - 1) < 0.005 + 4 * error
    excess = float(dynamics.friction_excess(rate, variance))
    assert excess == pytest.approx(kick / (1 + c) ** 2)
    # Without the correction the check fails.
    assert float(figures[1].mean()) + excess - 1 > 0.005 + 8 * error
