# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Draws become longer for chains that mix slowly, and only for these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import PseudoLangevin
from numpyro_pl.kernels.blocks import steps_taken
from numpyro_pl.warmup.pooling import ManyChains, OneChain
from numpyro_pl.warmup.settling import FIRST_FRICTION, first_settling, recorded
from numpyro_pl.warmup.stretch import Length, largest_stretch, stretched

NUM_WARMUP, MOST = 400, 5
THREE_QUARTERS = 299


def stretches(
    runs,
    num_chains,
    correlations,
    num_warmup=NUM_WARMUP,
    num_draws=NUM_WARMUP + 10,
    apart=0.0,
):
    """
    Stretch after each draw, of the shape (runs, chains, draws), of chains whose numbers
    have these correlations from one draw to the next, and means `apart` standard
    deviations from one chain to the next. A draw that is s times as long forgets s
    times as much.
    """
    chains = ManyChains("chains") if num_chains > 1 else OneChain()
    length = Length(num_warmup, 10, MOST, False)
    correlations = jnp.asarray(correlations)

    def chain(path, mean):
        def step(carry, x):
            (numbers, record), (i, noise) = carry, x
            memory = correlations**record.stretch
            numbers = memory * numbers + jnp.sqrt(1 - memory**2) * noise
            one, no = jnp.ones(()), jnp.asarray(False)
            record = recorded(record, i, num_warmup, mean + numbers, one, no)
            record = stretched(record, i, length, chains)
            return (numbers, record), record.stretch

        start = path[0], first_settling(jnp.ones(()), len(correlations) - 1)
        return jax.lax.scan(step, start, (jnp.arange(num_draws), path[1:]))[1]

    shape = runs, num_chains, num_draws + 1, len(correlations)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    run = jax.vmap(chain, axis_name="chains")
    means = apart * jnp.arange(num_chains, dtype=float)
    return np.asarray(jax.jit(jax.vmap(run, (0, None)))(noise, means))


def test_chains_that_mix_well_are_left_alone():
    """Three draws to forget: fewer than one run in fifty has longer draws."""
    found = stretches(400, 4, [0.5])[:, :, -1]
    assert (found > 1).mean() < 0.02


def test_chains_that_mix_slowly_have_longer_draws():
    """66 draws to forget: five times longer ones, the most that is allowed."""
    found = stretches(200, 4, [0.97])
    assert (found[:, :, :THREE_QUARTERS] == 1).all()
    assert np.median(found[:, :, -1]) == MOST
    assert (found[:, :, -1] >= 2).mean() > 0.95
    assert (found[:, :, THREE_QUARTERS] >= 2).mean() > 0.9
    assert found[:, :, : NUM_WARMUP - 1].max() == 3
    # The same for all chains of a run, and fixed from the end of the warmup.
    assert (found == found[:, :1]).all()
    assert (found[:, :, NUM_WARMUP - 1 :] == found[:, :, -1:]).all()


def test_the_slowest_number_counts():
    """A scale that takes 66 draws to forget, where the potential takes three."""
    found = stretches(200, 4, [0.5, 0.97])[:, :, -1]
    assert np.median(found) == MOST
    assert (found >= 2).mean() > 0.95


def test_twenty_sites_that_mix_well_are_left_alone():
    """
    Three draws to forget: fewer than one run in twelve has longer draws, though a third
    had them for the last quarter of the warmup.
    """
    found = stretches(400, 4, [0.5] * 21)
    assert (found[:, :, NUM_WARMUP - 2] > 1).mean() < 0.4
    assert (found[:, :, -1] > 1).mean() < 0.08


def test_chains_in_modes_of_their_own_are_left_alone():
    """Three draws to forget within a mode; modes two standard deviations apart."""
    found = stretches(300, 4, [0.5], apart=2.0)
    assert (found[:, :, -1] > 1).mean() < 0.05


def test_chains_that_hardly_move_are_not_taken_for_settled():
    """They need four quarters to forget, and have longer draws."""
    found = stretches(300, 4, [0.995])
    assert (found[:, :, -1] == MOST).mean() > 0.95


def test_one_chain_is_compared_with_its_own_past():
    slow, fast = stretches(300, 1, [0.97]), stretches(300, 1, [0.5])
    assert (slow[:, 0, -1] >= 2).mean() > 0.5
    assert (fast[:, 0, -1] > 1).mean() < 0.1
    assert (slow[:, :, : NUM_WARMUP - 1] == 1).all()


def test_few_draws_and_infinite_potentials_change_nothing():
    assert (stretches(10, 4, [0.97], num_warmup=90, num_draws=100) == 1).all()
    assert (stretches(1, 4, [jnp.nan]) == 1).all()


def frictions(runs, num_chains, frequencies):
    """
    Friction and stretch after each draw, of shape (runs, chains, draws), of chains with
    one mode of each frequency, whose draws of 10 steps have the friction and the
    length that the record says.
    """
    chains = ManyChains("chains") if num_chains > 1 else OneChain()
    length = Length(NUM_WARMUP, 10, 20, True)
    squares = jnp.square(jnp.asarray(frequencies))

    def chain(path):
        def step(carry, x):
            (numbers, record), (i, noise) = carry, x
            steps = 10 * record.stretch
            memory = jnp.exp(-steps * squares / record.friction)
            numbers = memory * numbers + jnp.sqrt(1 - memory**2) * noise
            one, no = jnp.ones(()), jnp.asarray(False)
            record = recorded(record, i, NUM_WARMUP, numbers, one, no)
            record = stretched(record, i, length, chains)
            return (numbers, record), (record.friction, record.stretch)

        start = path[0], first_settling(jnp.ones(()), len(squares) - 1)
        return jax.lax.scan(step, start, (jnp.arange(NUM_WARMUP), path[1:]))[1]

    shape = runs, num_chains, NUM_WARMUP + 1, len(squares)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    run = jax.vmap(chain, axis_name="chains")
    return [np.asarray(x) for x in jax.jit(jax.vmap(run))(noise)]


def test_energies_are_forgotten_in_a_draw():
    """All modes are fast: in the end the friction is 1 / 10 steps."""
    friction, stretch = frictions(200, 4, [0.3])
    assert (friction[:, :, : THREE_QUARTERS - 1] == np.float32(FIRST_FRICTION)).all()
    assert (friction[:, :, -1] == np.float32(0.1)).mean() > 0.95
    assert (stretch[:, :, -1] == 1).mean() > 0.95


@pytest.mark.parametrize("frequency", [0.005, 0.01, 0.02])
def test_a_slow_mode_has_less_friction_and_longer_draws(frequency):
    """
    Energies are forgotten in a draw, but not before the slow mode is. At a friction c
    that takes it `c / w^2` steps.
    """
    friction, stretch = frictions(200, 4, [frequency, 0.3])
    friction, stretch = friction[:, 0, -1], stretch[:, 0, -1]
    np.testing.assert_allclose(
        friction, np.maximum(0.1 / stretch, 0.01), rtol=0.5, atol=1e-6
    )
    assert np.median(friction) < 0.04
    draws = 2 * friction / frequency**2 / (10 * stretch)
    assert np.median(draws) < 10
    # The slowest mode may be missed that needs 50 draws at a friction of 0.1.
    assert (draws < 40).mean() > 0.85
    assert (draws < 60).all()


def test_one_chain_keeps_its_first_friction():
    """Its past tells too little of how it mixes."""
    friction, _ = frictions(20, 1, [0.3])
    assert (friction == np.float32(FIRST_FRICTION)).all()


@pytest.fixture(scope="module")
def gaussian_run():
    """A run on 4,000 independent normal coordinates, whose draws make 10 steps."""
    kernel = PseudoLangevin(potential_fn=lambda z: 0.5 * jnp.sum(z["x"] ** 2))
    mcmc = MCMC(kernel, num_warmup=20, num_samples=1, progress_bar=False)
    start = jax.random.normal(jax.random.key(1), (4000,))
    mcmc.run(jax.random.key(0), init_params={"x": start})
    return kernel, mcmc.last_state


def test_chains_without_minibatches_get_a_friction(gaussian_run, regression):
    """Of one draw; with minibatches, or if the user sets one, it stays."""
    potential = gaussian_run[0]._potential_fn
    kernel = PseudoLangevin(potential_fn=potential)
    mcmc = MCMC(
        kernel,
        num_warmup=240,
        num_samples=1,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    start = jax.random.normal(jax.random.key(1), (4, 100))
    mcmc.run(jax.random.key(0), init_params={"x": start})
    after = mcmc.last_state
    np.testing.assert_array_equal(after.settling.friction, np.float32(0.1))
    z = {"x": start[0]}
    run = kernel._run(kernel._bind((), {})[0], ((), {}), z)
    one = jax.tree.map(lambda x: x[0], after)
    assert float(run.dynamics_of(one).members[0].friction) == np.float32(0.1)
    own = PseudoLangevin(potential_fn=potential, friction=0.02)
    run = own._run(own._bind((), {})[0], ((), {}), z)
    assert run.dynamics_of(one).members[0].friction == 0.02
    rows = PseudoLangevin(linear_model, dense_mass=False, control_variate=None)
    z = {"w": jnp.zeros(regression[0].shape[1])}
    assert not rows._run(*rows._bind(regression, {}), z).sets_friction


def test_a_longer_draw_makes_as_many_more_steps(gaussian_run):
    """
    After n steps of frequency w and friction c the correlation is
    `exp(-c n / 2) cos(w n)`: 0.24 after 10 steps and -0.48 after 30, to 5 standard
    errors of 1 / sqrt(4,000) (one false alarm in a million).
    """
    kernel, state = gaussian_run
    longer = state.settling._replace(stretch=3 * state.settling.stretch)
    draw = jax.jit(lambda state: kernel.sample(state, (), {}))
    for settling, num in ((state.settling, 10), (longer, 30)):
        after = draw(state._replace(settling=settling))
        found = float(jnp.mean(state.z["x"] * after.z["x"]))
        frequency = kernel.dynamics.max_frequency
        expected = np.exp(-FIRST_FRICTION / 2 * num) * np.cos(frequency * num)
        assert abs(found - expected) < 5 / 4000**0.5
        assert kernel.account(after).num_steps == num
        assert abs(float(after.kinetic_temperature) - 1) < 5 * (2 / 4000) ** 0.5


def test_a_draw_of_a_tall_model_makes_as_many_more_steps(regression):
    """Its draws have as many steps as the warmup finds, here fewer than a block."""
    kernel = PseudoLangevin(linear_model)
    mcmc = MCMC(kernel, num_warmup=40, num_samples=1, progress_bar=False)
    mcmc.run(jax.random.key(0), *regression)
    state = mcmc.last_state
    run = kernel._run(kernel._bind(regression, {})[0], (regression, {}), state.z)
    usual, blocks = int(state.frame.num_steps), run.schedule.blocks_per_draw
    assert 10 <= usual < 100
    longer = state._replace(settling=state.settling._replace(stretch=jnp.asarray(3)))
    for one, times in ((state, 1), (longer, 3)):
        draw = [steps_taken(run, 10**4 + i, OneChain(), one) for i in range(blocks)]
        assert sum(int(steps) for steps in draw) == times * usual
        assert kernel.account(one).num_steps == times * usual


def test_a_number_of_steps_that_the_user_sets_stays(gaussian_run):
    kernel, state = gaussian_run
    own = PseudoLangevin(potential_fn=kernel._potential_fn, num_steps=10)
    assert own._run(own._bind((), {})[0], ((), {}), state.z).most_stretch == 1
    assert kernel._run(kernel._bind((), {})[0], ((), {}), state.z).most_stretch == 20


@pytest.mark.parametrize(
    ("num_steps", "size", "expected"),
    [
        (10, 20_000, 20),
        (100, 20_000, 20),
        (500, 5, 4),
        (100, 20_001, 5),
        (600, 10**6, 1),
    ],
)
def test_how_long_draws_may_become(num_steps, size, expected):
    """2,000 steps in small models, 500 in large ones."""
    assert largest_stretch(num_steps, size) == expected
