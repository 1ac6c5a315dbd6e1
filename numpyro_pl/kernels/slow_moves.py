# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Moves of a chain along the slow directions of its model
(:mod:`numpyro_pl.warmup.slow`): after each block of steps some more, of the same
dynamics, in the few coordinates along these directions.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import random

from numpyro_pl.dynamics.hamiltonian import hamiltonian_move
from numpyro_pl.dynamics.integrate import Phase, Trajectory, integrate
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.protocol import required
from numpyro_pl.kernels.layout import SlowLayout
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.trees.arithmetic import all_finite
from numpyro_pl.trees.increments import Increments, resolve_increments
from numpyro_pl.trees.ordering import not_hoisted, updated_if
from numpyro_pl.trees.random_bits import split
from numpyro_pl.warmup.control import SHRINK_BAD, runaway
from numpyro_pl.warmup.frame import largest_noise_fraction
from numpyro_pl.warmup.noise import estimate_noise, noise_batches
from numpyro_pl.warmup.pooling import OneChain
from numpyro_pl.warmup.schedule import Schedule
from numpyro_pl.warmup.slow import slow_directions

__all__ = ["moved_along", "steps_after_block"]

FRICTION = 0.03
"""Friction per step. Momenta are fresh after each block, so that little is needed; with
more of it minibatches may supply a smaller share of the noise."""

LEAST_JITTER = 0.3
"""Least of the random factors on squared frequencies: no direction is back where it was
after each block."""

TOO_LONG = 10.0
"""Error of the energy, in units of the temperature, from which the warmup shortens the
steps of moves that are accepted or not."""

SHARE, FEWEST_STEPS = 0.3, 2
"""Steps after a block relative to those of the block, and the least number."""


def steps_after_block(plan: Schedule) -> int:
    """Number of steps along the slow directions after each block."""
    return max(int(SHARE * plan.block_steps), FEWEST_STEPS)


def moved_along(
    run: Run, block, chains: OneChain, every: Callable, state: LangevinState
) -> LangevinState:
    """
    The state after a block of steps, moved along the slow directions.

    :param Run run: what a draw depends on.
    :param block: number of the block.
    :param OneChain chains: the chains of the run.
    :param every: function of a function of one chain -> the same for all chains.
    :param LangevinState state: the state.
    """
    look = every(partial(_with_directions, run, chains))
    now = run.schedule.is_event(block, run.schedule.frame_events)
    state = updated_if(now, look, state)
    some = jnp.any(state.slow.vectors != 0)
    moved = _moved if run.binding.potential.plates else _exactly_moved
    return updated_if(some, every(partial(moved, run, block)), state)


def _dynamics(run: Run, state: LangevinState) -> Partition:
    """The dynamics along the slow directions."""
    dynamics = run.dynamics.at_temperature(state.temperature)
    asked = required(run.dynamics.members[0], "noise_fraction")
    return dynamics.at_pace(FRICTION, largest_noise_fraction(FRICTION, asked))


def _layout(run: Run, state: LangevinState) -> SlowLayout:
    (origin,) = run.layout.pack(state.z)
    return SlowLayout(run.layout, origin, state.slow.vectors)


def _with_directions(run: Run, chains: OneChain, state: LangevinState) -> LangevinState:
    """The state with its slow directions looked for, and their scales set."""
    rng_key, key_rows, key_noise = split(state.rng_key, 3)
    # Otherwise the search would run at every block of a model of few rows.
    groups = not_hoisted(run.layout.pack(state.z), random.key_data(rng_key))
    (position,) = groups
    product = run.hessian_product(key_rows)
    slow = slow_directions(product, position, state.slow, chains)
    state = state._replace(rng_key=rng_key, slow=slow)
    gradient = run.binding.gradient(run.data, _layout(run, state))
    num = noise_batches(run.binding.potential.plates.steps_per_epoch)
    noise = chains.mean(estimate_noise(key_noise, gradient, slow.origin, num))
    noise = jax.tree.map(jnp.nan_to_num, noise)
    # The vectors are as long as the curvature says.
    ones = jax.tree.map(jnp.ones_like, noise)
    scales = _dynamics(run, state).choose_scales(noise, ones)
    return state._replace(slow=slow._replace(scales=scales, noise_variance=noise))


def _exactly_moved(run: Run, block, state: LangevinState) -> LangevinState:
    """
    The state after a move along its slow directions that the full potential accepts.
    Directions that bend, as in models of few data, would heat the chain without.
    """
    rng_key, key_move, key_jitter = split(state.rng_key, 3)
    slow, layout = state.slow, _layout(run, state)

    def energy(c):
        z = layout.unpack((c,))
        return run.binding.potential.full(z, *run.data) / state.temperature

    # At a lower temperature the same frequency needs a larger mass.
    factor = random.uniform(key_jitter, minval=LEAST_JITTER) * state.temperature
    (start,), (rates,) = slow.origin, slow.scales
    num_steps = steps_after_block(run.schedule)
    end, error = hamiltonian_move(key_move, energy, start, factor * rates, num_steps)
    too_long = (error > TOO_LONG) & (block < run.schedule.num_blocks)
    rates *= jnp.where(too_long, SHRINK_BAD, 1.0)
    return state._replace(
        z=layout.unpack((end,)), slow=slow._replace(scales=(rates,)), rng_key=rng_key
    )


def _moved(run: Run, block, state: LangevinState) -> LangevinState:
    """The state after steps along its slow directions; where it was, if they fail."""
    rng_key, key_momentum, key_steps, key_jitter = split(state.rng_key, 4)
    slow, dynamics, layout = state.slow, _dynamics(run, state), _layout(run, state)
    kind = resolve_increments(run.settings.increments, state.z)
    increments = Increments(kind, key_momentum)
    jitter = random.uniform(key_jitter, minval=LEAST_JITTER)
    scales = dynamics.shrink(slow.scales, jitter)
    momentum = dynamics.draw_momentum(increments, scales, slow.origin)
    phase, kinetic = integrate(
        key_steps,
        dynamics,
        run.binding.gradient(run.data, layout),
        Phase(slow.origin, momentum, slow.noise_variance),
        scales,
        Trajectory(
            steps_after_block(run.schedule),
            variance_rate=1.0 / run.variance_weight(block),
            increments=kind,
            remainder=state.control.remainder,
        ),
    )
    peak = dynamics.bulk_and_peak(phase.momentum, scales)[1]
    warming = block < run.schedule.num_blocks
    bad = runaway(kinetic, peak, state.temperature, layout.sizes, warming)
    bad |= ~all_finite((phase, kinetic))
    z = layout.unpack(phase.position)
    factor = jnp.where(bad & warming, SHRINK_BAD, 1.0)
    slow = slow._replace(
        scales=dynamics.shrink(slow.scales, factor),
        noise_variance=dynamics.bounded_variance(slow.scales, phase.noise_variance),
    )
    return state._replace(
        z=jax.tree.map(lambda new, old: jnp.where(bad, old, new), z, state.z),
        slow=slow,
        diverging=state.diverging | bad,
        rng_key=rng_key,
    )
