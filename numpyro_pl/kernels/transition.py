# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
One draw of one chain: adapt in warmup, advance by many steps, evaluate the potential,
check for a divergence, keep the draw or go back, record.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random

from numpyro_pl.dynamics.integrate import (
    MinibatchGradient,
    Phase,
    Trajectory,
    integrate,
)
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.kernels.binding import Binding
from numpyro_pl.kernels.layout import Layout
from numpyro_pl.kernels.settings import KernelSettings
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import Tree, is_large
from numpyro_pl.trees.increments import Increments, resolve_increments
from numpyro_pl.trees.ordering import computed_after, updated_if
from numpyro_pl.warmup import schedule
from numpyro_pl.warmup.adaptation import Event, adapt
from numpyro_pl.warmup.noise import noise_batches, noise_eigenvalue
from numpyro_pl.warmup.pooling import ManyChains, OneChain

__all__ = ["Run", "next_state"]

HOT = 100.0
"""A draw whose kinetic temperature is this many times the target has diverged."""

CHAINS = "chains"
"""Name of the axis of vectorized chains."""

MEASURE_EVERY = 8
"""Steps between measurements in large models, where memory traffic counts."""


class Run(NamedTuple):
    """
    All that a draw depends on besides the state.

    - **binding** - the target.
    - **data** - the data.
    - **dynamics** - the dynamics of each group.
    - **layout** - the groups of a position.
    - **num_steps** - integrator steps per draw.
    - **num_warmup** - warmup draws.
    - **settings** - settings of the kernel.
    """

    binding: Binding
    data: Data
    dynamics: Partition
    layout: Layout
    num_steps: int
    num_warmup: int
    settings: KernelSettings

    def gradient(self) -> MinibatchGradient:
        """Minibatch gradients by group."""
        return self.binding.gradient(self.data, self.layout)

    def potential_energy(self, rng_key: jax.Array, z: Tree) -> jax.Array:
        """Potential at a draw, on the full data unless the user wants an estimate."""
        potential = self.binding.potential
        if self.settings.full_potential:
            return potential.full(z, *self.data)
        return potential.estimate(rng_key, z, *self.data)

    def variance_weight(self, i) -> jax.Array:
        """Minibatches that the running noise variance averages at draw `i`."""
        return schedule.variance_weight(
            i, self.num_warmup, self.num_steps, self.settings.variance_rate
        )

    def burning_in(self, i) -> jax.Array:
        """Whether a chain may still be far from the typical set at draw `i`."""
        return i < schedule.burn_in_end(self.num_warmup)


class _Moved(NamedTuple):
    """A chain after the steps of a draw."""

    z: Tree
    phase: Phase
    potential_energy: jax.Array
    kinetic_temperature: jax.Array

    def has_diverged(self, limit: jax.Array) -> jax.Array:
        """Whether a value is not finite or a group is hotter than its limit."""
        finite = jnp.isfinite(self.potential_energy)
        position, momentum, _ = self.phase
        for leaf in jax.tree.leaves((position, momentum, self.kinetic_temperature)):
            finite &= jnp.isfinite(jnp.sum(leaf))
        return ~finite | jnp.any(self.kinetic_temperature > limit)


def next_state(run: Run, state: LangevinState, batched: bool) -> LangevinState:
    """
    The next state of a chain, or of vectorized chains.

    :param Run run: what a draw depends on.
    :param LangevinState state: state of the chain.
    :param bool batched: whether the state has a leading axis of chains.
    """
    # All chains are at the same draw; a condition without a chain axis keeps the chains
    # from adapting at every draw.
    i = state.i.reshape(-1)[0]
    events = jnp.asarray(schedule.event_draws(run.num_warmup))
    chains = ManyChains(CHAINS) if batched else OneChain()
    adapted, drawn = partial(_adapt, run, i, chains), partial(_draw, run, i)
    if batched:
        adapted = jax.vmap(adapted, axis_name=CHAINS)
        drawn = jax.vmap(drawn, axis_name=CHAINS)
    return drawn(updated_if(jnp.any(i == events), adapted, state))


def _draw(run: Run, i, state: LangevinState) -> LangevinState:
    key_next, key_steps, key_fresh, key_energy = random.split(state.rng_key, 4)
    dynamics = run.dynamics.at_temperature(state.temperature)
    phase, temperature = _advance(run, i, dynamics, state, key_steps)
    z = run.layout.unpack(phase.position)
    moved = _Moved(z, phase, run.potential_energy(key_energy, z), temperature)
    # Before it reaches the typical set, a chain may be arbitrarily hot.
    limit = jnp.where(run.burning_in(i), jnp.inf, HOT) * state.temperature
    state = state._replace(diverging=moved.has_diverged(limit), rng_key=key_next)
    state = _keep_or_go_back(run, i, dynamics, state, moved, key_fresh)
    return _record(run, i, dynamics, state)


def _advance(
    run: Run, i, dynamics: Partition, state: LangevinState, rng_key: jax.Array
) -> tuple[Phase, jax.Array]:
    gradient = run.gradient()
    if not dynamics.tracks_noise:
        gradient = gradient._replace(halves=None)
    # Forced after the adaptation: the first update does not depend on it, and would
    # otherwise be computed earlier and held.
    position = computed_after(run.layout.pack(state.z), state.scales)
    every_step = gradient.always_halves or not is_large(state.z)
    trajectory = Trajectory(
        run.num_steps,
        1 if every_step else min(MEASURE_EVERY, run.num_steps),
        1.0 / run.variance_weight(i),
        resolve_increments(run.settings.increments, state.z),
    )
    start = Phase(position, state.momentum, state.noise_variance)
    return integrate(rng_key, dynamics, gradient, start, state.scales, trajectory)


def _keep_or_go_back(
    run: Run,
    i,
    dynamics: Partition,
    state: LangevinState,
    moved: _Moved,
    rng_key: jax.Array,
) -> LangevinState:
    """
    The chain at its new position or, if it has diverged, at its previous one with a
    fresh momentum. In warmup a divergence means that the steps are too long, and
    shortens them; afterwards they are fixed.
    """
    diverging = state.diverging
    shrink = jnp.where(diverging & (i < run.num_warmup), 0.25, 1.0)
    scales = dynamics.shrink(state.scales, shrink)

    def keep(new, old):
        return jax.tree.map(lambda a, b: jnp.where(diverging, b, a), new, old)

    def fresh():
        kind = resolve_increments(run.settings.increments, state.z)
        like = moved.phase.position
        increments = Increments(kind, rng_key)
        return dynamics.draw_momentum(increments, scales, like, state.momentum)

    # Bounded, not restored: keeping the old variance would hold one more array during
    # the whole draw.
    def bounded():
        return dynamics.bounded_variance(scales, moved.phase.noise_variance)

    return state._replace(
        z=keep(moved.z, state.z),
        momentum=lax.cond(diverging, fresh, lambda: moved.phase.momentum),
        scales=scales,
        noise_variance=lax.cond(diverging, bounded, lambda: moved.phase.noise_variance),
        potential_energy=keep(moved.potential_energy, state.potential_energy),
        kinetic_temperature=keep(moved.kinetic_temperature, state.kinetic_temperature),
    )


def _record(run: Run, i, dynamics: Partition, state: LangevinState) -> LangevinState:
    """The state with the fields that are recorded after the draw."""
    warming = i < run.num_warmup
    num_draws = jnp.maximum(i + 1 - run.num_warmup, 1)
    mean = state.mean_kinetic_temperature
    step = (state.kinetic_temperature - mean) / num_draws
    return state._replace(
        i=state.i + 1,
        thermostat=dynamics.thermostat(state.momentum),
        mean_kinetic_temperature=jnp.where(warming, mean, mean + step),
        noise_fraction=dynamics.mean_noise_shares(state.scales, state.noise_variance),
        num_divergences=state.num_divergences
        + (state.diverging & ~warming).astype(int),
    )


def _adapt(run: Run, i, chains: OneChain, state: LangevinState) -> LangevinState:
    """An event of the warmup: new scales, and a momentum that fits them."""
    rng_key, key_adapt, key_noise, key_momentum = random.split(state.rng_key, 4)
    dynamics = run.dynamics.at_temperature(state.temperature)
    gradient = run.gradient()
    position = run.layout.pack(state.z)
    event = Event(
        first=i == 0,
        burning_in=run.burning_in(i),
        num_batches=noise_batches(run.binding.potential.plates.steps_per_epoch),
        variance_weight=run.variance_weight(i),
        chains=chains,
    )
    scales, noise_variance = adapt(
        key_adapt, dynamics, gradient, position, state.noise_variance, event
    )
    # Only at the last event, and before the momentum is drawn, so that the two do not
    # need memory at the same time.
    eigenvalue = lax.cond(
        i == schedule.last_event(run.num_warmup),
        lambda: noise_eigenvalue(key_noise, dynamics, gradient, position, scales),
        lambda: state.noise_eigenvalue,
    )
    kind = resolve_increments(run.settings.increments, state.z)
    momentum = dynamics.draw_momentum(
        Increments(kind, key_momentum),
        computed_after(scales, jnp.nan_to_num(eigenvalue)),
        position,
        state.momentum,
    )
    return state._replace(
        momentum=momentum,
        scales=scales,
        noise_variance=noise_variance,
        noise_eigenvalue=eigenvalue,
        rng_key=rng_key,
    )
