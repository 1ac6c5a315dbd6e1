# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""One draw of one chain: adaptation in warmup, many integrator steps, divergences."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpyro.util import identity

from numpyro_pl import adaptation
from numpyro_pl._memory import after, when
from numpyro_pl._sizes import is_large
from numpyro_pl.dynamics.integrate import GradientFns, integrate, measured_steps
from numpyro_pl.dynamics.noise import resolve_noise
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.kernels._binding import Binding, Data
from numpyro_pl.kernels._layout import Layout
from numpyro_pl.kernels._state import LangevinState

__all__ = ["Draw", "first_state", "make_draw"]

HOT = 100.0
"""A draw this many times hotter than the target, kinetically, has diverged."""

CHAINS = "chains"
"""Name of the axis of vectorized chains."""


def _pool(tree: Any, how: str) -> Any:
    """
    Combine a tree over vectorized chains, which then share their step sizes: by
    `"mean"`, `"max"`, or `"high"`, the mean plus a standard deviation between chains.
    """
    if how == "max":
        return lax.pmax(tree, CHAINS)
    mean = lax.pmean(tree, CHAINS)
    if how == "mean":
        return mean
    squares = lax.pmean(
        jax.tree.map(lambda x, m: jnp.square(x - m), tree, mean), CHAINS
    )
    return jax.tree.map(lambda m, s: m + jnp.sqrt(s), mean, squares)


class Draw(NamedTuple):
    """
    All that a draw depends on beside the state.

    - **binding** - the model on data of this shape.
    - **data** - the data.
    - **dynamics** - the dynamics of each group.
    - **layout** - the groups of a position.
    - **num_steps** - integrator steps.
    - **num_warmup** - warmup draws.
    - **noise** - kind of random increments.
    - **noise_fraction** - share of the thermostat's noise that warmup aims at.
    - **variance_rate** - rate per step of the running noise variance.
    - **full_potential** - whether the potential energy is that of the full data.
    """

    binding: Binding
    data: Data
    dynamics: Partition
    layout: Layout
    num_steps: int
    num_warmup: int
    noise: str
    noise_fraction: float
    variance_rate: float
    full_potential: bool

    def gradient(self) -> GradientFns:
        """Minibatch gradients by group."""
        return self.binding.gradient(self.data, self.layout.unpack, self.layout.pack)

    def variance_weight(self, i):
        """Minibatches that the running noise variance averages at draw `i`."""
        return adaptation.variance_weight(
            i, self.num_warmup, self.num_steps, self.variance_rate
        )

    def noise_batches(self) -> int:
        """Minibatches of a noise measurement."""
        return int(
            np.clip(
                self.binding.plates.steps_per_epoch,
                adaptation.MIN_NOISE_BATCHES,
                adaptation.NOISE_BATCHES,
            )
        )


def first_state(
    dynamics: Partition, layout: Layout, rng_key, z, energy
) -> LangevinState:
    """The state before the first draw, which begins with an adaptation."""
    dtype = jnp.result_type(*jax.tree.leaves(z))
    zero = jnp.zeros((), dtype)
    temperature = jnp.asarray(dynamics.temperature, dtype)
    return LangevinState(
        i=jnp.asarray(0),
        z=z,
        displacement=jax.tree.map(jnp.zeros_like, z),
        thermostat=dynamics.initial_thermostat(dtype),
        step_size=layout.unpack_scales(dynamics.first_steps(layout.pack(z))),
        noise_variance=layout.constant_scales(z, 0.0),
        potential_energy=energy,
        kinetic_temperature=temperature,
        mean_kinetic_temperature=jnp.zeros_like(temperature),
        noise_fraction=zero,
        noise_eigenvalue=zero,
        diverging=jnp.asarray(False),
        num_divergences=jnp.asarray(0),
        rng_key=rng_key,
    )


def make_draw(draw: Draw, state: LangevinState, batched: bool) -> LangevinState:
    """
    The next state of a chain, or of vectorized chains.

    :param Draw draw: settings.
    :param LangevinState state: state of the chain.
    :param bool batched: whether the state has a leading axis of chains.
    """
    map_chains = partial(jax.vmap, axis_name=CHAINS) if batched else identity
    # All chains are at the same draw; a predicate without chain axis keeps `cond` from
    # computing both branches.
    i = state.i.reshape(-1)[0]
    events = adaptation.event_draws(draw.num_warmup)
    adapting = map_chains(partial(_adapt, draw, i, batched))
    state = when(jnp.any(i == jnp.asarray(events)), adapting, state)
    return map_chains(partial(_advance, draw, i))(state)


def _advance(draw: Draw, i, state: LangevinState) -> LangevinState:
    layout, dynamics, binding = draw.layout, draw.dynamics, draw.binding
    key_next, key_steps, key_fresh, key_energy = random.split(state.rng_key, 4)
    gradient = draw.gradient()
    if not dynamics.tracks_noise:
        gradient = gradient._replace(halves=None)
    warming = i < draw.num_warmup
    burning = i < adaptation.burn_in_end(draw.num_warmup)
    noise = resolve_noise(draw.noise, state.z)
    step_size = layout.pack_scales(state.step_size)
    # After the adaptation: the first update needs nothing of it, and would be made, and
    # kept, before it.
    start = after(layout.pack(state.z), step_size)
    z, (u, thermostat), variance, temperature = integrate(
        key_steps,
        dynamics,
        gradient,
        start,
        (layout.pack(state.displacement), state.thermostat),
        step_size,
        layout.pack_scales(state.noise_variance),
        num_steps=draw.num_steps,
        measure_every=measured_steps(
            draw.num_steps, is_large(state.z), gradient.always_halves
        ),
        variance_rate=1.0 / draw.variance_weight(i),
        noise=noise,
    )
    z_tree = layout.unpack(z)
    if draw.full_potential:
        energy = binding.potential_energy(z_tree, draw.data)
    else:
        energy = binding.minibatch_potential(z_tree, draw.data, key_energy)
    finite = jnp.isfinite(energy)
    for leaf in jax.tree.leaves((z, u, temperature, thermostat)):
        finite &= jnp.isfinite(jnp.sum(leaf))
    hot = jnp.any(temperature > HOT * jnp.asarray(dynamics.temperature))
    diverging = ~finite | (hot & ~burning)
    keep = lambda new, old: jax.tree.map(  # noqa: E731
        lambda a, b: jnp.where(diverging, b, a), new, old
    )
    # In warmup a divergence says that the step sizes are too large; afterwards they are
    # fixed.
    shrink = jnp.where(diverging & warming, 0.25, 1.0)
    step_size = dynamics.shrunk(step_size, shrink)
    fresh = lambda: dynamics.draw_displacement(  # noqa: E731
        key_fresh, step_size, z, noise
    )
    u = lax.cond(diverging, fresh, lambda: u)
    temperature = keep(temperature, state.kinetic_temperature)
    num_draws = jnp.maximum(i + 1 - draw.num_warmup, 1)
    mean = state.mean_kinetic_temperature
    mean = jnp.where(warming, mean, mean + (temperature - mean) / num_draws)
    counted = diverging & ~warming
    # Not kept from before the draw: that would hold one more array for all of it.
    bounded = lambda: dynamics.bounded_variance(step_size, variance)  # noqa: E731
    variance = lax.cond(diverging, bounded, lambda: variance)
    return LangevinState(
        i=state.i + 1,
        z=keep(z_tree, state.z),
        displacement=layout.unpack(u),
        thermostat=keep(thermostat, state.thermostat),
        step_size=layout.unpack_scales(step_size),
        noise_variance=layout.unpack_scales(variance),
        potential_energy=keep(energy, state.potential_energy),
        kinetic_temperature=temperature,
        mean_kinetic_temperature=mean,
        noise_fraction=dynamics.mean_noise_fraction(step_size, variance, layout.sizes),
        noise_eigenvalue=state.noise_eigenvalue,
        diverging=diverging,
        num_divergences=state.num_divergences + counted.astype(int),
        rng_key=key_next,
    )


def _adapt(draw: Draw, i, batched: bool, state: LangevinState) -> LangevinState:
    layout, dynamics = draw.layout, draw.dynamics
    key, key_adapt, key_noise, key_u = random.split(state.rng_key, 4)
    burning = i < adaptation.burn_in_end(draw.num_warmup)
    old = layout.pack_scales(state.noise_variance)
    f = draw.noise_fraction
    z = layout.pack(state.z)
    pool: Callable = _pool if batched else lambda tree, how: tree
    step_size, variance = adaptation.adapt(
        key_adapt,
        dynamics,
        draw.gradient(),
        z,
        jax.tree.map(lambda v: jnp.where(i == 0, jnp.nan, v), old),
        jnp.where(burning, max(adaptation.BURN_IN_FRACTION, f), f),
        burning,
        draw.noise_batches(),
        draw.variance_weight(i),
        pool,
    )
    # At the last event, and before there is a momentum, to whose memory it is welcome.
    eigenvalue = lax.cond(
        i == int(adaptation.event_draws(draw.num_warmup)[-1]),
        lambda: adaptation.noise_eigenvalue(
            key_noise, dynamics, draw.gradient(), z, step_size
        ),
        lambda: state.noise_eigenvalue,
    )
    noise = resolve_noise(draw.noise, state.z)
    last = jnp.nan_to_num(eigenvalue)
    u = dynamics.draw_displacement(key_u, after(step_size, last), z, noise)
    return state._replace(
        displacement=layout.unpack(u),
        thermostat=dynamics.adapted_thermostat(state.thermostat, step_size),
        step_size=layout.unpack_scales(step_size),
        noise_variance=layout.unpack_scales(variance),
        noise_eigenvalue=eigenvalue,
        rng_key=key,
    )
