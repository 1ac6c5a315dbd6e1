# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Many integrator steps as one compiled loop: what happens between two draws.

There are two gradient functions: the plain one, and one for the two halves of a
minibatch, whose difference gives the noise variance without an extra gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.friction import friction_share
from numpyro_pl.dynamics.protocol import GroupDynamics, no_temperature
from numpyro_pl.trees.arithmetic import Tree, row
from numpyro_pl.trees.increments import Increments
from numpyro_pl.trees.ordering import computed_after, not_hoisted
from numpyro_pl.trees.random_bits import split

__all__ = [
    "MinibatchGradient",
    "Phase",
    "Trajectory",
    "integrate",
]


READ_STEPS = 16
"""Steps whose data is read at once, if it has to be read, rounded up to whole
measurements."""


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
    - **slowed** - function of the same arguments -> the gradient plus such a force, in
      the time of one gradient and a forward product.
    - **forward** - whether the gradient has forward-mode derivatives; None: not known.
    - **with_rows** - function (batches, batches after them) -> batches with their data,
      for data that has to be read: called for some steps at a time. None where the
      batches are all that is needed.
    """

    draw_batches: Callable
    grad: Callable
    halves: Callable | None
    fraction: float = 1.0
    always_halves: bool = False
    batch_at: Callable = row
    friction: Callable | None = None
    slowed: Callable | None = None
    forward: bool | None = None
    with_rows: Callable | None = None


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
    - **num_taken** - number of steps that are taken, which may be traced; see
      :mod:`numpyro_pl.dynamics.pieces`. None: all.
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
    measure_every: int
    first: Any = 0

    def reading(self, first, num: int) -> "_Steps":
        """The steps with the data of `num` minibatches from `first` on."""
        assert self.gradient.with_rows is not None
        last = jax.tree.leaves(self.batches)[0].shape[0] - 1

        def batches_from(t):
            return row(self.batches, jnp.minimum(t + jnp.arange(num), last))

        after = batches_from(first + num)
        batches = self.gradient.with_rows(batches_from(first), after)
        return self._replace(batches=batches, first=first)

    def plain(self, t, phase: Phase) -> Phase:
        """Step t."""
        x, u, variance = phase
        batch = self._batch(t)
        # Recompute the noise's scale at each use: that costs no more than reading it.
        v = not_hoisted(variance, t)
        slowed = self._slowed
        if slowed is not None:
            # Stronger, for the measured steps in between, which have none.
            strength = self.measure_every / (self.measure_every - 1)
            warmth = self.dynamics.temperature / strength
            g = slowed(x, batch, u, warmth)
            v = self._kept(v)
        else:
            g = self.gradient.grad(x, batch)
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
        friction = self.gradient.friction if self.dynamics.uses_friction else None
        if self._slowed is not None:
            return gradient, self._kept(variance), self._excess(variance)
        if friction is None or self.measure_every > 1:
            return gradient, variance, 0.0
        kept, excess = self._kept(variance), self._excess(variance)
        batch = self._batch(t)
        force = friction(x, batch, u, self.dynamics.temperature)
        share = friction_share(u, force, self.scales)
        # Not a plain product: a force may be infinite where its share is zero.
        gradient = jax.tree.map(
            lambda g, f: g + jnp.where(share > 0, share.astype(f.dtype) * f, 0.0),
            gradient,
            force,
        )
        return gradient, kept, share * excess

    @property
    def _slowed(self) -> Callable | None:
        """The gradient with friction of the steps that do not measure."""
        used = self.dynamics.uses_friction and self.measure_every > 1
        return self.gradient.slowed if used else None

    def _kept(self, variance: Tree) -> Tree:
        """The noise that the thermostat leaves out beside friction."""
        left = jnp.asarray(self.remainder)
        return jax.tree.map(lambda v: left.astype(v.dtype) * v, variance)

    def _excess(self, variance: Tree):
        return self.dynamics.friction_excess(self.scales, variance)

    def _increments(self, t) -> Increments:
        return Increments(self.increments, self.rng_key, t * self.dynamics.num_streams)

    def _batch(self, t) -> Any:
        return self.gradient.batch_at(self.batches, t - self.first)

    def _halves(self, x, t) -> tuple:
        batch = self._batch(t)
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
    Advance a chain from draw to draw, by all steps of the trajectory.

    :param rng_key: a PRNG key.
    :param GroupDynamics dynamics: the dynamics.
    :param MinibatchGradient gradient: the gradient.
    :param Phase start: the phase to start from.
    :param scales: the scales of the dynamics.
    :param Trajectory trajectory: how many steps, and how they are taken.
    :return: (phase after the steps, mean kinetic temperature).
    """
    num_steps, measure_every, variance_rate, kind, _, remainder = trajectory
    num_blocks = -(-num_steps // measure_every)
    at_once = -(-READ_STEPS // measure_every)
    key_batch, key_step = split(rng_key)
    batches = gradient.draw_batches(key_batch, num_steps)
    rate = jnp.asarray(1.0 - (1.0 - variance_rate) ** measure_every)
    steps = _Steps(
        key_step,
        dynamics,
        gradient,
        batches,
        scales,
        kind,
        rate,
        remainder,
        measure_every,
    )

    def block(here, j, carry):
        phase, total = carry
        first = j * measure_every
        phase, temperature = here.measured(first, phase)
        if measure_every > 1:
            # A GPU waits for the host at each step of a loop of unknown length.
            num: Any = measure_every - 1
            if num_steps % measure_every:
                num = jnp.minimum(num, num_steps - first - 1)
            phase = lax.fori_loop(
                0, num, lambda i, phase: here.plain(first + 1 + i, phase), phase
            )
        return phase, total + temperature

    def read_and_advance(j, carry):
        here = steps.reading(j * at_once * measure_every, at_once * measure_every)
        stop = jnp.minimum((j + 1) * at_once, num_blocks)
        return lax.fori_loop(j * at_once, stop, partial(block, here), carry)

    position = dynamics.resume(start.position, start.momentum)
    carry = start._replace(position=position), no_temperature(dynamics, position)
    if gradient.with_rows is None:
        end, total = lax.fori_loop(0, num_blocks, partial(block, steps), carry)
    else:
        num = -(-num_blocks // at_once)
        end, total = lax.fori_loop(0, num, read_and_advance, carry)
    draw = dynamics.read(end.position, end.momentum)
    return end._replace(position=draw), total / num_blocks
