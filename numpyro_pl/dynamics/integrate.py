# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Many integrator steps as one compiled loop: what happens between two draws.

Pure functions of arrays. The gradient comes as two functions: the plain one, and the
halves of a minibatch, from whose difference the noise variance is tracked without a
further gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random

from numpyro_pl._memory import after, varying

__all__ = ["GradientFns", "batch_at", "integrate", "measured_steps"]

Tree = Any


class GradientFns(NamedTuple):
    """
    Gradients of a potential.

    - **draw_batches** - function (key, num) -> batches, a tree with leading axis `num`.
    - **grad** - function (position, batch) -> gradient.
    - **halves** - function (position, batch) -> (gradient, gradient) on the halves of
      the batch, or None for a gradient without noise.
    - **fraction** - rows in both halves relative to the batch.
    - **always_halves** - take the mean of the halves at every step (where the noise of
      the whole batch is not that of the mean of its halves: crossed plates).
    """

    draw_batches: Callable
    grad: Callable
    halves: Callable | None
    fraction: float = 1.0
    always_halves: bool = False


def batch_at(batches: Tree, t) -> Tree:
    """The t-th entry along the leading axis of every array."""
    return jax.tree.map(lambda b: b[t], batches)


def measured_steps(num_steps: int, large: bool, always_halves: bool) -> int:
    """
    Steps from one measurement of temperature and noise to the next. Measuring reads and
    writes one more array, which counts where memory traffic does.
    """
    return min(8, num_steps) if large and not always_halves else 1


def integrate(
    rng_key: jax.Array,
    dynamics,
    gradient: GradientFns,
    z: Tree,
    u: Tree,
    step_size: Tree,
    variance: Tree,
    *,
    num_steps: int,
    measure_every: int,
    variance_rate,
    noise: str,
) -> tuple[Tree, Tree, Tree, jax.Array]:
    """
    Advance a chain by `num_steps` steps, from draw to draw.

    :param rng_key: a PRNG key.
    :param dynamics: the maps of a step, see
        :class:`~numpyro_pl.dynamics.pseudo_langevin.PseudoLangevinDynamics`.
    :param GradientFns gradient: the gradients.
    :param z: the draw to start from.
    :param u: momentum: the displacement of the last step (in a
        :class:`~numpyro_pl.dynamics.partition.Partition` with the thermostats).
    :param step_size: step sizes.
    :param variance: running variance of the minibatch noise.
    :param int num_steps: number of steps.
    :param int measure_every: steps between measurements.
    :param variance_rate: rate per step of the running variance.
    :param str noise: `"gaussian"` or `"signs"`.
    :return: (draw, momentum, variance, mean kinetic temperature).
    """
    key_batch, key_noise = random.split(rng_key)
    batches = gradient.draw_batches(key_batch, num_steps)
    rate = jnp.asarray(1.0 - (1.0 - variance_rate) ** measure_every)

    def plain_step(t, carry):
        x, u, variance = carry
        g = gradient.grad(x, batch_at(batches, t))
        # The noise's scale is made where it is read, as cheap as reading it.
        v = varying(variance, t)
        x, u = dynamics.advance(key_noise, t, x, u, g, step_size, v, noise)
        return x, u, variance

    def measured_step(t, x, u, variance):
        if gradient.halves is None:
            both = (gradient.grad(x, batch_at(batches, t)),)
        else:
            both = gradient.halves(x, batch_at(batches, t))
        # The mean of the halves is taken wherever it is read, and never stored.
        mean = lambda *parts: sum(parts) / len(parts)  # noqa: E731
        g = jax.tree.map(mean, *both)
        temperature = dynamics.kinetic_temperature(u, g, step_size, variance)
        # In this order each update overwrites what nothing reads any more.
        both = after(both, temperature)
        g = jax.tree.map(mean, *both)
        x, u = dynamics.advance(key_noise, t, x, u, g, step_size, variance, noise)
        if gradient.halves is not None:
            # After the step: a variance that knows this step's own noise would
            # correlate with it and bias the thermostat.
            first, second = both
            variance = dynamics.track_noise(
                variance, first, second, gradient.fraction, after(rate, u)
            )
            x = after(x, variance)
        return x, u, variance, temperature

    def block(j, carry):
        x, u, variance, total = carry
        start = j * measure_every
        x, u, variance, temperature = measured_step(start, x, u, variance)
        if measure_every > 1:
            stop = jnp.minimum(start + measure_every, num_steps)
            x, u, variance = lax.fori_loop(
                start + 1, stop, plain_step, (x, u, variance)
            )
        return x, u, variance, total + temperature

    x = dynamics.resume(z, u)
    num_blocks = -(-num_steps // measure_every)
    shape = jnp.shape(dynamics.temperature)
    zero = jnp.zeros(shape, jnp.result_type(*jax.tree.leaves(z)))
    x, u, variance, total = lax.fori_loop(0, num_blocks, block, (x, u, variance, zero))
    return dynamics.read(x, u), u, variance, total / num_blocks
