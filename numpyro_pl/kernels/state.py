# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The state of a chain."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.kernels.run import Run
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.increments import Increments
from numpyro_pl.trees.random_bits import fold_in
from numpyro_pl.warmup.control import Control, first_control
from numpyro_pl.warmup.settling import Settling, first_settling
from numpyro_pl.warmup.slow import no_directions

__all__ = ["LangevinState", "first_state"]

SHARED = 1_000
"""Arrays with at least this many entries per chain are shared in the state before the
first draw, where they hold no meaningful values yet."""


class LangevinState(NamedTuple):
    """
    State of a chain. A field "by group" is a tuple with an entry for each group of the
    kernel's partition, in a form that only the group's dynamics knows.

    - **i** - number of draws made, warmup included.
    - **z** - the draw: unconstrained latent values, a tree like the position.
    - **momentum** - by group: for most dynamics the displacement of one step,
      `h p / M`.
    - **scales** - by group, fixed after warmup: rates `(1 + c) h^2 / (2 M)` of every
      coordinate in a pseudo-Langevin group; step length and friction in others.
    - **noise_variance** - by group: running variance of the minibatch gradient in
      pseudo-Langevin groups; in others its mean, as measured in warmup.
    - **temperature** - temperature of the target. A scalar for one group, else an
      array.
    - **thermostat** - friction variable of adaptive Langevin dynamics, in units of
      inverse time, 0 for others. A scalar for one group, else an array.
    - **potential_energy** - potential at `z` in nats, on the full data unless the
      kernel's `full_potential` is False; ArviZ stores its negative as `lp`.
    - **kinetic_temperature** - mean kinetic temperature over the draw's steps; its
      expectation is the target temperature. A scalar for one group, else an array.
    - **mean_kinetic_temperature** - its running mean since the end of warmup, over the
      draws that did not diverge.
    - **noise_fraction** - mean share of the thermostat's noise that minibatches
      supplied. A scalar for one group, else an array.
    - **noise_eigenvalue** - largest eigenvalue of the noise covariance in units of the
      thermostat's noise, before friction from the examples, measured at the end of
      warmup.
    - **control** - factor on the squared frequencies of this chain, and what bounds it,
      see :class:`~numpyro_pl.warmup.control.Control`.
    - **settling** - what the chain remembers of the second half of its warmup, see
      :class:`~numpyro_pl.warmup.settling.Settling`.
    - **frame** - anchor, whitened coordinates and pace of the chain, see
      :class:`~numpyro_pl.warmup.frame.Frame`; empty where a kernel uses none.
    - **kept** - what the kernel's `collect` keeps of the draw, by name; not evaluated
      (NaN, or zero) before the end of the warmup, and empty without `collect`.
    - **diverging** - whether the draw was discarded because it was not finite or far
      too hot (the chain goes on from the previous draw with a fresh momentum).
    - **num_divergences** - number of divergences since the end of warmup.
    - **rng_key** - key of the next draw.
    - **slow** - slow directions of the model, see
      :class:`~numpyro_pl.warmup.slow.SlowDirections`; empty where none are looked for.
    - **carried** - the arguments of the model that are split over devices; empty where
      none is.
    """

    i: jax.Array
    z: Any
    momentum: Any
    scales: Any
    noise_variance: Any
    temperature: jax.Array
    thermostat: jax.Array
    potential_energy: jax.Array
    kinetic_temperature: jax.Array
    mean_kinetic_temperature: jax.Array
    noise_fraction: jax.Array
    noise_eigenvalue: jax.Array
    control: Control
    settling: Settling
    frame: Any
    kept: Any
    diverging: jax.Array
    num_divergences: jax.Array
    rng_key: jax.Array
    slow: Any = ()
    carried: tuple = ()

    def sharing_arrays(self, num_chains: int) -> "LangevinState":
        """
        The state before the first draw, with the arrays of `z` in place of momenta,
        scales and variances, which the first draw sets. `MCMC` keeps this state for the
        whole run, and would otherwise hold three more arrays of the size of the
        parameters. Small arrays are not replaced: a thermostat has a value from the
        start.
        """
        known = {(x.shape, x.dtype): x for x in jax.tree.leaves(self.z)}

        def share(x):
            return (
                known.get((x.shape, x.dtype), x) if x.size >= SHARED * num_chains else x
            )

        return self._replace(
            momentum=jax.tree.map(share, self.momentum),
            scales=jax.tree.map(share, self.scales),
            noise_variance=jax.tree.map(share, self.noise_variance),
        )


def first_state(
    run: Run, rng_key: jax.Array, z: Tree, potential_energy, heat, frame=()
) -> LangevinState:
    """
    The state before the first draw. An event of the warmup sets the scales before they
    are used, so they are ones here; only their shapes matter.

    :param Run run: what a draw depends on.
    :param rng_key: a PRNG key.
    :param z: the start.
    :param potential_energy: its potential, in nats.
    :param heat: configurational temperature there, relative to the target's.
    :param frame: the frame of the chain, if any.
    """
    dynamics, layout = run.dynamics, run.layout
    dtype = jnp.result_type(*jax.tree.leaves(z))
    position = layout.pack(z)
    ones = jax.tree.map(jnp.ones_like, position)
    shapes = jax.eval_shape(lambda x: dynamics.choose_scales(x, x), ones)
    scales = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), shapes)
    momentum = dynamics.draw_momentum(
        Increments("signs", fold_in(rng_key, 0)), scales, position
    )
    temperature = jnp.asarray(dynamics.temperature, dtype)
    zero = jnp.zeros((), dtype)
    return LangevinState(
        i=jnp.zeros((), int),
        z=z,
        momentum=momentum,
        scales=scales,
        noise_variance=jax.tree.map(jnp.zeros_like, dynamics.kept_variance(ones)),
        temperature=temperature,
        thermostat=dynamics.thermostat(momentum),
        potential_energy=potential_energy,
        kinetic_temperature=temperature,
        mean_kinetic_temperature=jnp.zeros_like(temperature),
        noise_fraction=jnp.zeros_like(temperature),
        noise_eigenvalue=zero,
        control=first_control(potential_energy, heat),
        settling=first_settling(temperature, len(run.compared)),
        frame=frame,
        kept=jax.tree.map(_unknown, jax.eval_shape(run.kept, z)),
        diverging=jnp.asarray(False),
        num_divergences=jnp.zeros((), int),
        rng_key=rng_key,
        slow=no_directions(*position) if run.seeks_slow else (),
    )


def _unknown(shape: jax.ShapeDtypeStruct) -> jax.Array:
    """An array for values that are not known yet."""
    has_nan = jnp.issubdtype(shape.dtype, jnp.inexact)
    return jnp.full(shape.shape, jnp.nan if has_nan else 0, shape.dtype)
