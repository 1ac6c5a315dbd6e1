# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Many integrator steps as one compiled loop: what happens between two draws.

Pure functions of arrays. There are two gradient functions: the plain one, and one for
the two halves of a minibatch, whose difference gives the noise variance without an
extra gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.friction import friction_share
from numpyro_pl.dynamics.protocol import GroupDynamics
from numpyro_pl.trees.arithmetic import Tree, row
from numpyro_pl.trees.increments import Increments
from numpyro_pl.trees.ordering import computed_after, not_hoisted
from numpyro_pl.trees.random_bits import fold_in, split

__all__ = [
    "PIECE",
    "MinibatchGradient",
    "Phase",
    "Trajectory",
    "integrate",
    "integrate_in_pieces",
]


class MinibatchGradient(NamedTuple):
    """
    The gradient of a potential on minibatches.

    - **draw_batches** - function (key, num) -> batches of a whole trajectory.
    - **grad** - function (position, batch) -> gradient.
    - **halves** - function (position, batch) -> (gradient, gradient) on the halves of
      the batch, or None for a gradient without noise.
    - **fraction** - rows in both halves relative to the batch.
    - **always_halves** - whether to take the mean of the halves at every step (needed
      where the noise of the whole batch differs from that of the mean of its halves:
      crossed plates).
    - **batch_at** - function (batches, t) -> batch of step t; by default entry t along
      the leading axis of every array.
    - **friction** - function (position, batch, displacement, temperature) -> force of
      the friction from the examples, see :mod:`numpyro_pl.dynamics.friction`; None
      without it.
    """

    draw_batches: Callable
    grad: Callable
    halves: Callable | None
    fraction: float = 1.0
    always_halves: bool = False
    batch_at: Callable = row
    friction: Callable | None = None


class Phase(NamedTuple):
    """
    Position, momentum and noise variance of a chain.

    - **position** - the draw.
    - **momentum** - the momentum, in the form that the dynamics uses.
    - **noise_variance** - running variance of the minibatch noise.
    """

    position: Tree
    momentum: Tree
    noise_variance: Tree


class Trajectory(NamedTuple):
    """
    Settings of the steps between two draws.

    - **num_steps** - number of steps.
    - **measure_every** - steps from one measurement of temperature and noise to the
      next. A measurement reads and writes one more array.
    - **variance_rate** - weight per step of the newest value in the running variance.
    - **increments** - kind of random increments, `"gaussian"` or `"signs"`.
    - **num_taken** - number of steps that are taken, at most `num_steps`; it may be
      traced. None: all.
    - **remainder** - share of the minibatch noise that friction from the examples does
      not balance and the thermostat leaves out.
    """

    num_steps: int
    measure_every: int = 1
    variance_rate: Any = 1e-3
    increments: str = "gaussian"
    num_taken: Any = None
    remainder: Any = 0.0


class _Steps(NamedTuple):
    """The two kinds of steps of a trajectory."""

    rng_key: jax.Array
    dynamics: GroupDynamics
    gradient: MinibatchGradient
    batches: Tree
    scales: Tree
    increments: str
    measured_rate: jax.Array
    remainder: Any

    def plain(self, t, phase: Phase) -> Phase:
        """Step t."""
        x, u, variance = phase
        g = self.gradient.grad(x, self.gradient.batch_at(self.batches, t))
        # Recompute the noise's scale at each use: that costs no more than reading it.
        v = not_hoisted(variance, t)
        x, u = self.dynamics.step(self._increments(t), x, u, g, self.scales, v)
        return Phase(x, u, variance)

    def measured(self, t, phase: Phase) -> tuple[Phase, jax.Array]:
        """Step t, with the kinetic temperature; it updates the noise variance."""
        x, u, variance = phase
        halves = self._halves(x, t)
        # Computed wherever it is used, so that the mean of the halves is never stored.
        g = jax.tree.map(_mean, *halves)
        temperature = self.dynamics.kinetic_temperature(u, g, self.scales, variance)
        # In this order each update overwrites an array that is no longer needed.
        halves = computed_after(halves, temperature)
        g = jax.tree.map(_mean, *halves)
        g, left, excess = self._with_friction(t, phase, g)
        temperature = temperature - excess
        increments = self._increments(t)
        x, u = self.dynamics.step(increments, x, u, g, self.scales, left)
        if self.gradient.halves is None:
            return Phase(x, u, variance), temperature
        # Only after the step: a variance that included this step's noise would
        # correlate with it and bias the thermostat.
        rate = computed_after(self.measured_rate, u)
        variance = self.dynamics.track_noise(
            variance, halves, self.gradient.fraction, rate
        )
        return Phase(computed_after(x, variance), u, variance), temperature

    def _with_friction(self, t, phase: Phase, gradient: Tree) -> tuple[Tree, Tree, Any]:
        """
        The gradient plus friction, the noise left to the thermostat, and what friction
        adds to the kinetic temperature.
        """
        x, u, variance = phase
        friction = self.gradient.friction
        if friction is None or not self.dynamics.uses_friction:
            return gradient, variance, 0.0
        batch = self.gradient.batch_at(self.batches, t)
        force = friction(x, batch, u, self.dynamics.temperature)
        share = friction_share(u, force, self.scales)
        # Not a plain product: a force may be infinite where its share is zero.
        gradient = jax.tree.map(
            lambda g, f: g + jnp.where(share > 0, share.astype(f.dtype) * f, 0.0),
            gradient,
            force,
        )
        left = jnp.asarray(self.remainder)
        kept = jax.tree.map(lambda v: left.astype(v.dtype) * v, variance)
        excess = share * self.dynamics.friction_excess(self.scales, variance)
        return gradient, kept, excess

    def _increments(self, t) -> Increments:
        return Increments(self.increments, self.rng_key, t * self.dynamics.num_streams)

    def _halves(self, x, t) -> tuple:
        batch = self.gradient.batch_at(self.batches, t)
        if self.gradient.halves is None:
            return (self.gradient.grad(x, batch),)
        return self.gradient.halves(x, batch)


def _mean(*parts):
    return sum(parts) / len(parts)


def integrate(
    rng_key: jax.Array,
    dynamics: GroupDynamics,
    gradient: MinibatchGradient,
    start: Phase,
    scales: Tree,
    trajectory: Trajectory,
) -> tuple[Phase, jax.Array]:
    """
    Advance a chain from draw to draw.

    :param rng_key: a PRNG key.
    :param GroupDynamics dynamics: the dynamics.
    :param MinibatchGradient gradient: the gradient.
    :param Phase start: the phase to start from.
    :param scales: the scales of the dynamics.
    :param Trajectory trajectory: how many steps, and how they are taken.
    :return: (phase after the steps, mean kinetic temperature).
    """
    num_steps, measure_every, variance_rate, kind, taken, remainder = trajectory
    taken = num_steps if taken is None else taken
    key_batch, key_step = split(rng_key)
    batches = gradient.draw_batches(key_batch, num_steps)
    rate = jnp.asarray(1.0 - (1.0 - variance_rate) ** measure_every)
    steps = _Steps(key_step, dynamics, gradient, batches, scales, kind, rate, remainder)

    def block(j, carry):
        phase, total = carry
        first = j * measure_every
        phase, temperature = steps.measured(first, phase)
        if measure_every > 1:
            stop = jnp.minimum(first + measure_every, taken)
            phase = lax.fori_loop(first + 1, stop, steps.plain, phase)
        return phase, total + temperature

    position = dynamics.resume(start.position, start.momentum)
    dtype = jnp.result_type(*jax.tree.leaves(position))
    zero = jnp.zeros(jnp.shape(dynamics.temperature), dtype)
    num_blocks = -(-taken // measure_every)
    end, total = lax.fori_loop(
        0, num_blocks, block, (start._replace(position=position), zero)
    )
    draw = dynamics.read(end.position, end.momentum)
    return end._replace(position=draw), total / jnp.maximum(num_blocks, 1)


PIECE = 10
"""Steps for which minibatches are drawn at a time where their number is not known."""


def integrate_in_pieces(
    rng_key: jax.Array,
    dynamics: GroupDynamics,
    gradient: MinibatchGradient,
    start: Phase,
    scales: Tree,
    trajectory: Trajectory,
) -> tuple[Phase, jax.Array]:
    """
    :func:`integrate`, with minibatches drawn for a few steps at a time: for a number of
    steps known only when they are taken, rounded up to a multiple of ten.
    """
    num_taken = trajectory.num_taken
    num = -(-(trajectory.num_steps if num_taken is None else num_taken) // PIECE)
    piece = trajectory._replace(num_steps=PIECE, num_taken=None)

    def advance(j, carry):
        phase, total = carry
        key = fold_in(rng_key, j)
        phase, kinetic = integrate(key, dynamics, gradient, phase, scales, piece)
        return phase, total + kinetic

    dtype = jnp.result_type(*jax.tree.leaves(start.position))
    zero = jnp.zeros(jnp.shape(dynamics.temperature), dtype)
    end, total = lax.fori_loop(0, num, advance, (start, zero))
    return end, total / jnp.maximum(num, 1)
