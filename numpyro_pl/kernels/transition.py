# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
One draw: blocks of steps, before which the warmup may adapt; then evaluate the
potential, judge it, keep the draw or go back, record.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.kernels.blocks import (
    advance_block,
    descend_block,
    fresh_momentum,
    gone_back_if,
    shrunk,
)
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.slow_moves import moved_along
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.ordering import computed_after, updated_if
from numpyro_pl.trees.random_bits import split
from numpyro_pl.warmup import control, settling
from numpyro_pl.warmup.adaptation import Event, adapt, adapt_frozen, adapt_white
from numpyro_pl.warmup.noise import noise_batches, noise_eigenvalue
from numpyro_pl.warmup.pooling import ManyChains, OneChain
from numpyro_pl.warmup.reframing import (
    anchored_anew,
    noise_concentration,
    whitened_anew,
)
from numpyro_pl.warmup.shadow import (
    Shadow,
    is_too_wide,
    is_watched,
    shadow_energies,
    with_draw,
    with_new_bound,
)
from numpyro_pl.warmup.stretch import stretched

__all__ = ["next_state"]

CHAINS = "numpyro_pl chains"
"""Name of the axis of vectorized chains; no name that a mesh of devices may have."""


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
    events = plan.frame_events if run.is_white else plan.events
    chains = ManyChains(CHAINS) if batched else OneChain()

    def every(fn: Callable) -> Callable:
        return jax.vmap(fn, axis_name=CHAINS) if batched else fn

    def block(k, state):
        number = i * plan.blocks_per_draw + k
        adapted = every(partial(_adapt, run, number, chains))
        now = plan.is_event(number, events)
        if _is_watched(run):
            further = plan.is_event(number, plan.further_events)
            now |= further & is_too_wide(state.settling.shadow)
        state = updated_if(now, adapted, state)
        down = number < plan.descent_blocks
        moved = every(partial(descend_block, run, number))
        state = updated_if(down, moved, state)
        # Of a draw in one block, this is the start: no second array is held for it.
        origin = start if several else state.z
        advanced = every(partial(advance_block, run, number, chains))
        state = advanced(origin, state)
        if run.seeks_slow:
            state = moved_along(run, number, chains, every, state)
        return state if several else (origin, state)

    state = every(partial(_begin, run, i))(state)
    if several:
        state = lax.fori_loop(0, plan.blocks_per_draw, block, state)
        origin = start
    else:
        origin, state = block(0, state)
    state = every(partial(_finish, run, i, chains))(origin, state)
    if run.settings.collect is not None:
        kept = lax.cond(
            i >= plan.num_warmup, lambda: every(run.kept)(state.z), lambda: state.kept
        )
        state = state._replace(kept=kept)
    return state


def _begin(run: Run, i, state: LangevinState) -> LangevinState:
    """The state with nothing recorded yet, and a factor that fits the noise allowed."""
    current = state.control
    if run.boldness > 1:
        careful = partial(control.with_less_noise, ratio=run.boldness)
        current = updated_if(i == run.first_careful_draw, careful, current)
    return state._replace(
        control=current,
        kinetic_temperature=jnp.zeros_like(state.kinetic_temperature),
        diverging=jnp.zeros_like(state.diverging),
    )


def _finish(
    run: Run, i, chains: OneChain, start: Tree, state: LangevinState
) -> LangevinState:
    """The potential at the draw, and the draw before it if that is no place to be."""
    rng_key, key_energy, key_fresh = split(state.rng_key, 3)
    energy = run.potential_energy(key_energy, state, chains)
    warming = i < run.schedule.num_warmup
    descending = (i + 1) * run.schedule.blocks_per_draw <= run.schedule.descent_blocks
    size = run.layout.size
    highest = jnp.max(state.temperature)
    bad, after = control.judged(
        state.control, energy, state.potential_energy, size, highest, warming
    )
    # Without a warmup nobody knows what potential to expect, and an estimate of it from
    # one minibatch says too little.
    known = run.schedule.num_warmup > 0 and bool(run.full_potential)
    bad &= ~descending & known
    arriving = state.control._replace(reference=energy)
    after = jax.tree.map(lambda a, b: jnp.where(descending, a, b), arriving, after)
    before_draw = state._replace(rng_key=rng_key)
    before = before_draw._replace(z=start)
    state = gone_back_if(run, bad, before_draw, before, key_fresh)
    energy = jnp.where(bad, state.potential_energy, energy)
    state = state._replace(control=after, potential_energy=energy)
    dynamics = run.dynamics_of(state)
    state = shrunk(dynamics, state, before_draw, state.scales)
    return _record(run, i, chains, state)


def _record(run: Run, i, chains: OneChain, state: LangevinState) -> LangevinState:
    """The state with the fields that are recorded after the draw."""
    num_warmup = run.schedule.num_warmup
    warming = i < num_warmup
    dynamics = run.dynamics_of(state)
    num_divergences = state.num_divergences + (state.diverging & ~warming).astype(int)
    frame = state.frame
    if run.framing is not None and run.framing.moving:
        descent_draws = -(-run.schedule.descent_blocks // run.schedule.blocks_per_draw)
        counts = warming & (i >= descent_draws) & ~state.diverging
        seen = frame.seen.with_draw(run.layout.pack(state.z), counts)
        frame = frame._replace(seen=seen)
    record = settling.recorded(
        state.settling,
        i,
        num_warmup,
        settling.watched(state.potential_energy, state.z, run.compared),
        state.kinetic_temperature / state.temperature,
        state.diverging,
    )
    if _is_watched(run):
        measure = partial(_shadowed, run, chains, state)
        late = warming & (i >= num_warmup // 2)
        shadow = updated_if(late, measure, record.shadow)
        record = record._replace(shadow=shadow)
    if run.most_stretch > 1 or run.sets_friction:
        record = stretched(record, i, run.length, chains)
    # A draw that diverged was discarded, and its temperature may not be finite.
    num_kept = jnp.maximum(i + 1 - num_warmup - num_divergences, 1)
    mean = state.mean_kinetic_temperature
    step = (state.kinetic_temperature - mean) / num_kept
    left_out = warming | state.diverging
    return state._replace(
        i=state.i + 1,
        frame=frame,
        thermostat=dynamics.thermostat(state.momentum),
        mean_kinetic_temperature=jnp.where(left_out, mean, mean + step),
        noise_fraction=dynamics.mean_noise_shares(state.scales, state.noise_variance),
        num_divergences=num_divergences,
        settling=record,
    )


def _is_watched(run: Run) -> bool:
    """Whether the bias of the length of the steps is measured."""
    by_curvature = run.schedule.interval is None and not run.is_white
    return by_curvature and is_watched(run.dynamics, run.layout.size)


def _shadowed(
    run: Run, chains: OneChain, state: LangevinState, shadow: Shadow
) -> Shadow:
    """The record of the bias of the length of the steps, with a draw."""
    position = run.layout_in(state.frame).pack(state.z)
    energies = shadow_energies(
        run.dynamics_of(state), run.gradient(state.frame), position, state.scales
    )
    return with_draw(shadow, energies, ~state.diverging, chains)


def _adapt(run: Run, block, chains: OneChain, state: LangevinState) -> LangevinState:
    """An event of the warmup: new scales, and a momentum that fits them."""
    rng_key, key_adapt, key_noise, key_momentum = split(state.rng_key, 4)
    first = block == int(run.schedule.events[0])
    if run.framing is not None and not run.is_white:
        moves = jnp.any(block == jnp.asarray(run.schedule.frame_events))
        first |= moves
        state = updated_if(moves, partial(_anchored, run), state)
    shadow = with_new_bound(state.settling.shadow)
    state = state._replace(settling=state.settling._replace(shadow=shadow))
    event = Event(
        first=first,
        burning_in=run.burning_in(block),
        num_batches=noise_batches(run.binding.potential.plates.steps_per_epoch),
        variance_weight=run.variance_weight(block),
        factor=state.control.factor,
        chains=chains,
        share=shadow.share,
    )
    change = _whitened if run.is_white else partial(_measured, block=block)
    change = change if run.schedule.interval is None else _estimated
    state = change(run, (key_adapt, key_noise), event, state=state)
    scales = run.dynamics_of(state).evened(state.scales, state.control.ratio)
    state = state._replace(scales=scales, rng_key=rng_key)
    return state._replace(
        momentum=fresh_momentum(run, state, state.momentum, key_momentum)
    )


def _measured(
    run: Run, keys: tuple, event: Event, state: LangevinState, block
) -> LangevinState:
    """Scales from the noise and the curvature at the chain's position."""
    dynamics, gradient = run.dynamics_of(state), run.gradient(state.frame)
    position = run.layout_in(state.frame).pack(state.z)
    scales, noise_variance = adapt(
        keys[0], dynamics, gradient, position, state.noise_variance, event
    )
    # Only at the last event, and before the momentum is drawn, so that the two do not
    # need memory at the same time.
    eigenvalue = lax.cond(
        block == run.schedule.last_event,
        lambda: noise_eigenvalue(keys[1], dynamics, gradient, position, scales),
        lambda: state.noise_eigenvalue,
    )
    return state._replace(
        scales=computed_after(scales, jnp.nan_to_num(eigenvalue)),
        noise_variance=noise_variance,
        noise_eigenvalue=eigenvalue,
    )


def _estimated(
    run: Run, keys: tuple, event: Event, state: LangevinState
) -> LangevinState:
    """The noise as it is here, frozen until the next estimate, and scales for it."""
    dynamics, gradient = run.dynamics_of(state), run.gradient(state.frame)
    position = run.layout.pack(state.z)
    scales, noise_variance = adapt_frozen(
        keys[0], dynamics, gradient, position, state.scales, event.first
    )
    return state._replace(scales=scales, noise_variance=noise_variance)


def _whitened(
    run: Run, keys: tuple, event: Event, state: LangevinState
) -> LangevinState:
    """A new frame, and scales for what was measured in it."""
    assert run.framing is not None
    position = run.layout.pack(state.z)
    white = whitened_anew(
        keys[0], state.frame, run.framing, position, run.target(state), event.chains
    )
    state = state._replace(frame=white.frame)
    dynamics = run.dynamics_of(state)
    scales, noise_variance = adapt_white(dynamics, white, event)
    return state._replace(
        scales=scales,
        noise_variance=noise_variance,
        noise_eigenvalue=noise_concentration(white.noise, dynamics, scales),
    )


def _anchored(run: Run, state: LangevinState) -> LangevinState:
    """The state with its anchor moved."""
    assert run.framing is not None
    position = run.layout.pack(state.z)
    frame = anchored_anew(state.frame, run.framing, position, run.target(state))
    return state._replace(frame=frame)
