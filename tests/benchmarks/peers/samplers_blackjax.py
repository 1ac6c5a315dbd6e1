# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
BlackJAX's minibatch samplers at fixed step sizes, and its microcanonical sampler on all
rows with its own tuning: four vectorized chains in compiled loops.
"""

from collections.abc import Callable, Iterator

import blackjax
import jax
from blackjax.sgmcmc.gradients import grad_estimator
from bnn_digits import BATCH, CHAINS
from jax import lax, random

from . import problem
from .chunks import Chunk

GRADIENTS_PER_DRAW = 100
"""As many as a draw of this package has by default."""

DRAWS = 20
"""Draws of a chunk."""

MCLMC_STEPS_PER_DRAW, MCLMC_GRADIENTS = 10, 2
"""Steps between the draws of the microcanonical sampler, and gradients of each: its
integrator is McLachlan's."""


def estimated_gradient() -> Callable:
    """Gradient of the log density, estimated from the rows of a minibatch."""
    rows = problem.data().x_train.shape[0]
    return grad_estimator(problem.log_prior, problem.log_likelihood, rows)


def sgld(key, step_size: float) -> Iterator[Chunk]:
    algorithm = blackjax.sgld(estimated_gradient())

    def step(key, position, batch):
        return algorithm.step(key, position, batch, step_size)

    return minibatch_chains(key, step)


def sghmc(
    key, step_size: float, alpha: float, num_integration_steps: int = 10
) -> Iterator[Chunk]:
    algorithm = blackjax.sghmc(estimated_gradient(), num_integration_steps, alpha)

    def step(key, position, batch):
        return algorithm.step(key, position, batch, step_size)

    return minibatch_chains(key, step, gradients=num_integration_steps)


def sgnht(key, step_size: float, alpha: float) -> Iterator[Chunk]:
    algorithm = blackjax.sgnht(estimated_gradient(), alpha)

    def step(key, state, batch):
        return algorithm.step(key, state, batch, step_size)

    def init(key, position):
        return algorithm.init(position, key)

    return minibatch_chains(key, step, init, lambda state: state.position)


def minibatch_chains(
    key,
    step: Callable,
    init: Callable = lambda key, position: position,
    position_of: Callable = lambda state: state,
    gradients: int = 1,
) -> Iterator[Chunk]:
    """
    Chains of a minibatch sampler, in chunks of one compiled program. The rows of each
    minibatch are drawn at random, with replacement, within it.

    :param step: the next state from a key, a state and a minibatch.
    :param init: the first state from a key and a position.
    :param position_of: the position of a state.
    :param gradients: gradients of a step.
    """
    data = problem.data()
    rows, steps = data.x_train.shape[0], GRADIENTS_PER_DRAW // gradients

    def one_step(state, key):
        key_rows, key_step = random.split(key)
        i = random.randint(key_rows, (BATCH,), 0, rows)
        return step(key_step, state, (data.x_train[i], data.y_train[i])), None

    def draw(state, key):
        state, _ = lax.scan(one_step, state, random.split(key, steps))
        return state, position_of(state)

    key_start, key_init, key = random.split(key, 3)
    positions = problem.starts(key_start, CHAINS)
    states = jax.vmap(init)(random.split(key_init, CHAINS), positions)
    yield from repeated(key, draw, states, steps * gradients * BATCH / rows)


def repeated(key, draw: Callable, states, passes: float, before: float = 0.0):
    """
    Chunks of draws without end.

    :param draw: the next state and a draw from a state and a key.
    :param states: of all chains.
    :param passes: passes over the data of a draw.
    :param before: passes of the tuning.
    """

    @jax.jit
    @jax.vmap
    def chunk(key, state):
        return lax.scan(draw, state, random.split(key, DRAWS))

    while True:
        key, key_chunk = random.split(key)
        states, draws = chunk(random.split(key_chunk, CHAINS), states)
        before += DRAWS * passes
        yield Chunk(draws, before)


def mclmc(key, num_steps: int, diagonal: bool) -> Iterator[Chunk]:
    """
    The microcanonical sampler on all rows.

    :param num_steps: steps of which its tuning takes a third.
    :param diagonal: whether the tuning sets a diagonal mass matrix.
    """
    data = problem.data()
    kernel = blackjax.mclmc.build_kernel()

    def log_density(weights):
        return problem.log_density(weights, data.x_train, data.y_train)

    @jax.jit
    @jax.vmap
    def tuned(key, position):
        key_init, key_tune = random.split(key)
        state = blackjax.mclmc.init(position, log_density, key_init)
        return blackjax.mclmc_find_L_and_step_size(
            mclmc_kernel=kernel,
            num_steps=num_steps,
            state=state,
            rng_key=key_tune,
            logdensity_fn=log_density,
            diagonal_preconditioning=diagonal,
        )

    def draw(state_and_tuning, key):
        tuning = state_and_tuning[1]

        def one_step(state, key):
            new, _ = kernel(
                rng_key=key,
                state=state,
                logdensity_fn=log_density,
                inverse_mass_matrix=tuning.inverse_mass_matrix,
                L=tuning.L,
                step_size=tuning.step_size,
            )
            return new, None

        keys = random.split(key, MCLMC_STEPS_PER_DRAW)
        state, _ = lax.scan(one_step, state_and_tuning[0], keys)
        return (state, tuning), state.position

    key_start, key_tune, key = random.split(key, 3)
    positions = problem.starts(key_start, CHAINS)
    state, tuning, steps = tuned(random.split(key_tune, CHAINS), positions)
    before = float(steps[0]) * MCLMC_GRADIENTS
    yield Chunk(None, before)
    passes = MCLMC_STEPS_PER_DRAW * MCLMC_GRADIENTS
    yield from repeated(key, draw, (state, tuning), passes, before)
