# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
One draw: blocks of steps, before which the warmup may adapt; then evaluate the
potential, judge it, keep the draw or go back, record, report.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax, random

from numpyro_pl.kernels.blocks import (
    advance_block,
    descend_block,
    fresh_momentum,
    gone_back_if,
    shrunk,
)
from numpyro_pl.kernels.reports import report
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.ordering import computed_after, updated_if
from numpyro_pl.warmup import control, settling
from numpyro_pl.warmup.adaptation import Event, adapt
from numpyro_pl.warmup.noise import noise_batches, noise_eigenvalue
from numpyro_pl.warmup.pooling import ManyChains, OneChain

__all__ = ["next_state"]

CHAINS = "chains"
"""Name of the axis of vectorized chains."""


def next_state(run: Run, state: LangevinState, batched: bool) -> LangevinState:
    """
    The next state of a chain, or of vectorized chains.

    :param Run run: what a draw depends on.
    :param LangevinState state: state of the chain.
    :param bool batched: whether the state has a leading axis of chains.
    """
    # All chains are at the same draw; conditions without a chain axis keep the chains
    # from adapting and descending at every draw.
    i = state.i.reshape(-1)[0]
    plan, start = run.schedule, state.z
    several = plan.blocks_per_draw > 1
    events = jnp.asarray(plan.events)
    chains = ManyChains(CHAINS) if batched else OneChain()

    def every(fn: Callable) -> Callable:
        return jax.vmap(fn, axis_name=CHAINS) if batched else fn

    def block(k, state):
        number = i * plan.blocks_per_draw + k
        adapted = every(partial(_adapt, run, number, chains))
        state = updated_if(jnp.any(number == events), adapted, state)
        down = number < plan.descent_blocks
        moved = every(partial(descend_block, run, number))
        state = updated_if(down, moved, state)
        # Of a draw in one block, this is the start: no second array is held for it.
        origin = start if several else state.z
        state = every(partial(advance_block, run, number))(origin, state)
        return state if several else (origin, state)

    state = every(_begin)(state)
    if several:
        state = lax.fori_loop(0, plan.blocks_per_draw, block, state)
        origin = start
    else:
        origin, state = block(0, state)
    state = every(partial(_finish, run, i))(origin, state)
    report(run, i, state)
    return state


def _begin(state: LangevinState) -> LangevinState:
    return state._replace(
        kinetic_temperature=jnp.zeros_like(state.kinetic_temperature),
        diverging=jnp.zeros_like(state.diverging),
    )


def _finish(run: Run, i, start: Tree, state: LangevinState) -> LangevinState:
    """The potential at the draw, and the draw before it if that is no place to be."""
    rng_key, key_energy, key_fresh = random.split(state.rng_key, 3)
    energy = run.potential_energy(key_energy, state.z)
    warming = i < run.schedule.num_warmup
    descending = (i + 1) * run.schedule.blocks_per_draw <= run.schedule.descent_blocks
    size = run.layout.size
    highest = jnp.max(state.temperature)
    bad, after = control.judged(state.control, energy, size, highest, warming)
    # Without a warmup nobody knows what potential to expect, and an estimate of it from
    # one minibatch says too little.
    known = run.schedule.num_warmup > 0 and run.settings.full_potential
    bad &= ~descending & known
    arriving = state.control._replace(reference=energy)
    after = jax.tree.map(lambda a, b: jnp.where(descending, a, b), arriving, after)
    before_draw = state._replace(rng_key=rng_key)
    before = before_draw._replace(z=start)
    state = gone_back_if(run, bad, before_draw, before, key_fresh)
    energy = jnp.where(bad, state.potential_energy, energy)
    state = state._replace(control=after, potential_energy=energy)
    dynamics = run.dynamics.at_temperature(state.temperature)
    state = shrunk(dynamics, state, before_draw, state.scales)
    return _record(run, i, state)


def _record(run: Run, i, state: LangevinState) -> LangevinState:
    """The state with the fields that are recorded after the draw."""
    num_warmup = run.schedule.num_warmup
    warming = i < num_warmup
    dynamics = run.dynamics.at_temperature(state.temperature)
    num_draws = jnp.maximum(i + 1 - num_warmup, 1)
    mean = state.mean_kinetic_temperature
    step = (state.kinetic_temperature - mean) / num_draws
    return state._replace(
        i=state.i + 1,
        thermostat=dynamics.thermostat(state.momentum),
        mean_kinetic_temperature=jnp.where(warming, mean, mean + step),
        noise_fraction=dynamics.mean_noise_shares(state.scales, state.noise_variance),
        num_divergences=state.num_divergences
        + (state.diverging & ~warming).astype(int),
        settling=settling.recorded(
            state.settling,
            i,
            num_warmup,
            state.potential_energy,
            state.kinetic_temperature / state.temperature,
            state.diverging,
        ),
    )


def _adapt(run: Run, block, chains: OneChain, state: LangevinState) -> LangevinState:
    """An event of the warmup: new scales, and a momentum that fits them."""
    rng_key, key_adapt, key_noise, key_momentum = random.split(state.rng_key, 4)
    dynamics = run.dynamics.at_temperature(state.temperature)
    gradient = run.gradient()
    position = run.layout.pack(state.z)
    event = Event(
        first=block == int(run.schedule.events[0]),
        burning_in=run.burning_in(block),
        num_batches=noise_batches(run.binding.potential.plates.steps_per_epoch),
        variance_weight=run.variance_weight(block),
        factor=state.control.factor,
        chains=chains,
    )
    scales, noise_variance = adapt(
        key_adapt, dynamics, gradient, position, state.noise_variance, event
    )
    # Only at the last event, and before the momentum is drawn, so that the two do not
    # need memory at the same time.
    eigenvalue = lax.cond(
        block == run.schedule.last_event,
        lambda: noise_eigenvalue(key_noise, dynamics, gradient, position, scales),
        lambda: state.noise_eigenvalue,
    )
    state = state._replace(
        scales=computed_after(scales, jnp.nan_to_num(eigenvalue)),
        noise_variance=noise_variance,
        noise_eigenvalue=eigenvalue,
        rng_key=rng_key,
    )
    return state._replace(
        momentum=fresh_momentum(run, state, state.momentum, key_momentum)
    )
