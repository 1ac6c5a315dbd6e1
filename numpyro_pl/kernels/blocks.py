# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
One block of steps of one chain: down, or on with the dynamics; and the way back if it
was bad.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.integrate import Phase, Trajectory
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.pieces import (
    PIECE,
    integrate_all_or_none,
    integrate_in_pieces,
)
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.trees.arithmetic import Tree, all_finite, is_large
from numpyro_pl.trees.increments import Increments, resolve_increments
from numpyro_pl.trees.ordering import computed_after
from numpyro_pl.trees.random_bits import split
from numpyro_pl.warmup import control
from numpyro_pl.warmup.descent import Averages, Descent, descend, length_shares
from numpyro_pl.warmup.pooling import OneChain

__all__ = [
    "advance_block",
    "descend_block",
    "fresh_momentum",
    "gone_back_if",
    "shrunk",
    "steps_taken",
]

MEASURE_EVERY = (8, 10, 9, 7, 6, 5)
"""Steps from one measurement to the next in large models, where memory traffic counts:
the first that divides the number of steps, so that the loops have a known length."""


def descend_block(run: Run, block, state: LangevinState) -> LangevinState:
    """
    A block of the descent. A chain that is not to descend stays where it is.

    :param Run run: what a draw depends on.
    :param block: number of the block.
    :param LangevinState state: state of the chain.
    """
    rng_key, key_steps = split(state.rng_key)
    plan = run.schedule
    kind = resolve_increments(run.settings.increments, state.z)
    active = state.control.descending
    # Before the first event a frame has no anchor and no axes of its own.
    position = run.layout.pack(state.z)
    shares = length_shares(position)
    descent = Descent(plan.block_steps, *plan.rates(block), kind, active, shares)
    # Averages are kept in place of momentum and scales, which have no values yet, if
    # these have the form of a position; else each block starts anew.
    kept = _are_like_positions(state, position)
    averages = Averages.none(position)
    if kept:
        mean, square = jax.tree.map(
            lambda x: jnp.where(block == 0, 0.0, x), (state.momentum, state.scales)
        )
        averages = Averages(mean, square, jnp.asarray(block * plan.block_steps))
    new, averages = descend(
        key_steps, run.gradient(), (position, averages), state.temperature, descent
    )
    if kept:
        state = state._replace(momentum=averages.mean, scales=averages.square)
    return state._replace(z=run.layout.unpack(new), rng_key=rng_key)


def _are_like_positions(state: LangevinState, position: tuple) -> bool:
    """Whether momentum and scales have the form of a position."""
    shapes = [
        jax.tree.map(jnp.shape, tree)
        for tree in (position, state.momentum, state.scales)
    ]
    return shapes[0] == shapes[1] == shapes[2]


def advance_block(
    run: Run, block, chains: OneChain, start: Tree, state: LangevinState
) -> LangevinState:
    """
    A block of steps of the dynamics, none during the descent. A block that is not
    finite or far too hot is undone: the chain goes back to the start of the draw with a
    fresh momentum. In warmup the steps are then shortened; afterwards they are fixed.

    :param Run run: what a draw depends on.
    :param block: number of the block.
    :param OneChain chains: the chains of the run.
    :param start: position at the start of the draw.
    :param LangevinState state: state of the chain.
    """
    rng_key, key_steps, key_fresh = split(state.rng_key, 3)
    plan, target = run.schedule, state.temperature
    dynamics = run.dynamics_of(state)
    taken = steps_taken(run, block, chains, state)
    phase, kinetic = _integrated(run, block, dynamics, state, key_steps, taken)
    descended = block >= plan.descent_blocks
    active = taken > 0
    mean = state.kinetic_temperature
    kinetic = jnp.where(active, kinetic, jnp.where(descended, mean, target))
    warming = block < plan.num_blocks
    z = run.layout_in(state.frame).unpack(phase.position)
    bulk, peak = dynamics.bulk_and_peak(phase.momentum, state.scales)
    sizes = run.layout.sizes
    bad = control.runaway(kinetic, peak, target, sizes, warming)
    bad = active & (bad | ~all_finite((phase.position, phase.momentum, kinetic)))
    mean += (kinetic - mean) / (block % plan.blocks_per_draw + 1)
    before = state
    if run.is_white:
        # Back and forth between coordinates a position would not stay the same.
        z = jax.tree.map(lambda new, old: jnp.where(active, new, old), z, state.z)
    state = state._replace(
        z=z,
        momentum=phase.momentum,
        noise_variance=phase.noise_variance,
        kinetic_temperature=jnp.where(bad, kinetic, mean),
        rng_key=rng_key,
    )
    state = gone_back_if(run, bad, state, before._replace(z=start), key_fresh)
    few = control.concentrated(bulk, peak, target, sizes)
    changed = _control_after(run, block, state, kinetic, bad, few)
    limited = dynamics.limited(state.scales, state.noise_variance, phase.momentum)
    limited = dynamics.evened(limited, changed.ratio)
    changed, scales = jax.tree.map(
        lambda new, old: jnp.where(warming & active, new, old),
        (changed, limited),
        (state.control, state.scales),
    )
    return shrunk(dynamics, state._replace(control=changed), state, scales)


def steps_taken(run: Run, block, chains: OneChain, state: LangevinState) -> Any:
    """
    Steps of a block: a frame may make a draw shorter than its blocks, and chains that
    mix slowly make blocks longer. Chains have the same number, which as a maximum has
    no chain axis.

    :param block: number of the block, from the start of the run.
    """
    plan = run.schedule
    steps: Any = plan.block_steps
    if run.framing is not None and run.framing.sets_steps:
        number = chains.largest(state.frame.num_steps)
        done = (block % plan.blocks_per_draw) * plan.block_steps
        steps = jnp.clip(number - done, 0, plan.block_steps)
    if run.most_stretch > 1:
        steps *= chains.largest(state.settling.stretch)
    return jnp.where(block >= plan.descent_blocks, steps, 0)


def _control_after(
    run: Run, block, state: LangevinState, kinetic: jax.Array, bad, few
) -> control.Control:
    """
    The control after a block of warmup. The heat of a few coordinates is theirs: the
    factor follows it only once the bound on their rates can do no more.
    """
    target, plan = state.temperature, run.schedule
    is_hot = control.hot(kinetic, target, run.layout.sizes)
    even = state.control.ratio <= control.LEAST_RATIO
    changed = control.after_block(
        control.with_ratio(state.control, bad & few, run.burning_in(block)),
        bad & ~few,
        jnp.where(few, bad & even, is_hot),
        plan.growth,
    )
    # The temperature of a longer block is known better.
    longer = state.settling.stretch.astype(kinetic.dtype)
    rate = longer * control.remainder_rate(run.layout.size, run.is_white)
    balanced = control.with_remainder(changed, kinetic, target, rate)
    heated = bad | (is_hot & few)
    return jax.tree.map(lambda new, old: jnp.where(heated, new, old), changed, balanced)


def shrunk(
    dynamics: Partition, state: LangevinState, before: LangevinState, scales: Tree
) -> LangevinState:
    """
    The state with scales that follow its control, and a momentum that fits them.

    :param LangevinState state: the state, with a new control.
    :param LangevinState before: the state with the control that the scales follow.
    :param scales: the scales.
    """
    ratio = state.control.factor / before.control.factor
    scales = dynamics.shrink(scales, ratio)
    momentum = dynamics.rescaled(state.momentum, before.scales, scales)
    return state._replace(scales=scales, momentum=momentum)


def gone_back_if(
    run: Run,
    bad: jax.Array,
    state: LangevinState,
    before: LangevinState,
    rng_key: jax.Array,
) -> LangevinState:
    """
    The state or, if it is bad, one at an earlier position with a fresh momentum.

    :param bad: whether the chain goes back.
    :param before: the earlier position, and a momentum whose thermostat is not
        disturbed yet.
    :param rng_key: a PRNG key.
    """
    dynamics = run.dynamics_of(state)

    # Bounded, not restored: keeping the old variance would hold one more array during
    # the whole draw.
    def bounded():
        return dynamics.bounded_variance(state.scales, state.noise_variance)

    return state._replace(
        z=jax.tree.map(lambda new, old: jnp.where(bad, old, new), state.z, before.z),
        momentum=lax.cond(
            bad,
            lambda: fresh_momentum(run, state, before.momentum, rng_key),
            lambda: state.momentum,
        ),
        noise_variance=lax.cond(bad, bounded, lambda: state.noise_variance),
        diverging=state.diverging | bad,
    )


def fresh_momentum(
    run: Run, state: LangevinState, previous: Tree, rng_key: jax.Array
) -> Tree:
    """
    A thermal momentum for the scales of a state.

    :param previous: the momentum whose thermostat, if any, goes on.
    """
    dynamics = run.dynamics_of(state)
    kind = resolve_increments(run.settings.increments, state.z)
    like = run.layout.pack(state.z)
    increments = Increments(kind, rng_key)
    return dynamics.draw_momentum(increments, state.scales, like, previous)


def _integrated(
    run: Run,
    block,
    dynamics: Partition,
    state: LangevinState,
    rng_key: jax.Array,
    taken: jax.Array,
) -> tuple[Phase, jax.Array]:
    gradient = run.gradient(state.frame)
    if not dynamics.tracks_noise:
        gradient = gradient._replace(halves=None)
    # Forced after the adaptation: the first update does not depend on it, and would
    # otherwise be computed earlier and held.
    position = run.layout_in(state.frame).pack(state.z)
    position = computed_after(position, state.scales)
    every_step = gradient.always_halves or not is_large(state.z)
    num_steps = run.schedule.block_steps
    sets_steps = run.framing is not None and run.framing.sets_steps
    length = PIECE if sets_steps else num_steps
    trajectory = Trajectory(
        num_steps,
        1 if every_step else _measure_every(length),
        1.0 / run.variance_weight(block),
        resolve_increments(run.settings.increments, state.z),
        taken,
        state.control.remainder,
    )
    start = Phase(position, state.momentum, state.noise_variance)
    integrated = integrate_all_or_none
    if sets_steps or run.most_stretch > 1:
        integrated = partial(integrate_in_pieces, length=length)
    return integrated(rng_key, dynamics, gradient, start, state.scales, trajectory)


def _measure_every(num_steps: int) -> int:
    """Steps from one measurement to the next, of a number of steps."""
    some = min(MEASURE_EVERY[0], num_steps)
    return next((n for n in MEASURE_EVERY if num_steps % n == 0), some)
