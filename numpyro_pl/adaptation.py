# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warmup: what it takes so that a user gives no step size.

Before a few draws of the warmup (the *events*: the first, powers of two, half, three
quarters and nine tenths of it) the chain stops, measures the minibatch noise and the
curvature where it stands, and sets its step sizes anew:

* noise: half-differences over one pass of the data (at most :data:`NOISE_BATCHES`
  minibatches), so that a feature seen in a few rows only is not missed;
* curvature: norms of the Hessian's rows by random probes, then the largest eigenvalue
  of the mass-scaled Hessian by power iteration, both on minibatches.

In the first half of the warmup the minibatches may supply more of the noise
(:data:`BURN_IN_FRACTION`): the chain is then too hot but travels fast, which is what
the way to the typical set needs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from numpyro_pl._memory import varying, when
from numpyro_pl.curvature import hessian_row_norms, power_iteration, tree_dot
from numpyro_pl.dynamics.integrate import GradientFns, batch_at
from numpyro_pl.dynamics.noise import half_difference_variance
from numpyro_pl.dynamics.partition import Partition, spread

__all__ = [
    "AdaptResult",
    "adapt",
    "burn_in_end",
    "estimate_noise",
    "event_draws",
    "noise_eigenvalue",
    "variance_weight",
]

Tree = Any

NOISE_BATCHES = 256
"""Most minibatches used to measure the noise at one event."""

MIN_NOISE_BATCHES = 16
"""Fewest minibatches used to measure the noise at one event."""

CURVATURE_PROBES = 16
"""Random probes of the Hessian's rows at one event."""

POWER_STEPS, POWER_AVERAGE = 12, 4
"""Power iterations, and products averaged, for the largest eigenvalue at one event."""

BURN_IN_FRACTION = 0.5
"""Noise fraction in the first half of warmup (the user's, if that is larger)."""


class AdaptResult(NamedTuple):
    """
    What an event sets.

    - **step_size** - step sizes of each group.
    - **noise_variance** - variance of the minibatch noise, as each group keeps it.
    """

    step_size: Tree
    noise_variance: Tree


def event_draws(num_warmup: int) -> np.ndarray:
    """
    Draws before which the step sizes are set: the first, powers of two, then half,
    three quarters and nine tenths of the warmup. Between events they are constant.

    :param int num_warmup: number of warmup draws.
    """
    events = {0} | {int(f * num_warmup) for f in (0.5, 0.75, 0.9)}
    events |= {2**k for k in range(64) if 2**k <= num_warmup / 2}
    return np.array(sorted(events))


def burn_in_end(num_warmup: int) -> int:
    """Draw from which noise fraction and step sizes are those the user asked for."""
    return int(0.5 * num_warmup)


def variance_weight(i, num_warmup: int, num_steps: int, rate: float):
    """
    Number of minibatches that the running noise variance averages at draw `i`.

    The noise of a neural network depends on which points are badly fitted at the
    moment, and step sizes set from the noise of one moment leave coordinates that the
    minibatches alone overheat at another. So between half and nine tenths of warmup the
    variance is averaged over all of that time. Before, it forgets fast; afterwards it
    follows the chain with the user's rate.

    :param i: number of the draw.
    :param int num_warmup: number of warmup draws.
    :param int num_steps: integrator steps per draw.
    :param float rate: rate per step of the running variance after warmup.
    """
    start, stop = burn_in_end(num_warmup), int(event_draws(num_warmup)[-1])
    short = min(100.0, 1.0 / rate)
    weight = short + num_steps * jnp.maximum(i - start, 0)
    return jnp.where(i > stop, 1.0 / rate, weight)


def estimate_noise(
    rng_key: jax.Array, gradient: GradientFns, z: Tree, num_batches: int
) -> Tree:
    """
    Mean half-difference variance over fresh minibatches at one position.

    :param rng_key: a PRNG key.
    :param GradientFns gradient: gradients of the potential.
    :param z: position.
    :param int num_batches: number of minibatches.
    :return: a tree like `z`; zeros for a gradient without noise.
    """
    zeros = jax.tree.map(jnp.zeros_like, z)
    halves = gradient.halves
    if halves is None:
        return zeros

    def body(total, batch):
        first, second = halves(varying(z, total), batch)
        new = half_difference_variance(first, second, gradient.fraction)
        return jax.tree.map(jnp.add, total, new), None

    total, _ = lax.scan(body, zeros, gradient.draw_batches(rng_key, num_batches))
    return jax.tree.map(lambda t: t / num_batches, total)


def _hessian_product(
    gradient: GradientFns, z: Tree, rng_key: jax.Array, num: int
) -> Callable[[Any, Tree], Tree]:
    """Hessian-vector product at `z` on the t-th of `num` fresh minibatches."""
    batches = gradient.draw_batches(rng_key, num)

    def product(t, vector):
        batch = batch_at(batches, t)
        here = varying(z, t)
        return jax.jvp(lambda x: gradient.grad(x, batch), (here,), (vector,))[1]

    return product


def adapt(
    rng_key: jax.Array,
    dynamics: Partition,
    gradient: GradientFns,
    z: Tree,
    variance: Tree,
    noise_fraction,
    burning,
    num_batches: int,
    weight,
    pool: Callable = lambda tree, how: tree,
) -> AdaptResult:
    """
    Set the step sizes from the noise and the curvature at `z`.

    :param rng_key: a PRNG key.
    :param Partition dynamics: the dynamics whose step sizes are set.
    :param GradientFns gradient: gradients of the potential.
    :param z: position.
    :param variance: running noise variance; NaN where there is none yet.
    :param noise_fraction: wanted share of the thermostat's noise.
    :param burning: whether the chain is still on its way.
    :param int num_batches: minibatches of the noise measurement.
    :param weight: minibatches that the running variance has averaged.
    :param pool: combines a tree over the chains, by `"mean"`, `"max"`, or `"high"`, the
        mean plus a standard deviation: what one chain sees of noise and curvature is a
        small sample of what it will meet.
    :return: step sizes, common to the chains, and noise variances.
    """
    key_noise, key_batch, key_probe, key_power = random.split(rng_key, 4)
    fresh = estimate_noise(key_noise, gradient, z, num_batches)
    share = num_batches / (num_batches + weight)
    variance = tuple(spread(v, f) for v, f in zip(variance, fresh, strict=True))
    fresh = jax.tree.map(
        lambda v, f: jnp.where(jnp.isnan(v), f, v + share * (f - v)), variance, fresh
    )
    own = jax.tree.map(_finite(0.0), fresh)
    mean = pool(own, "mean")
    per = [m.per_coordinate for m in dynamics.members]
    # Each chain goes on from its own variance where it is followed.
    kept = dynamics.reduced(
        tuple(o if p else m for p, o, m in zip(per, own, mean, strict=True))
    )
    # Hidden units of a network change roles, slower than any warmup can follow, and a
    # coordinate that was quiet meets noise later: with the mean over the chains, digits
    # ran at a noise fraction of 0.074 where 0.05 was asked for; so, at 0.057. A chain
    # that lags on its way to the typical set must not hold up the others: not there.
    high = lambda o, m: jnp.where(burning, m, pool(o, "high"))  # noqa: E731
    fresh = tuple(
        jax.tree.map(high, o, m) if p else m
        for p, o, m in zip(per, own, mean, strict=True)
    )
    if not dynamics.sets_steps:
        nowhere = jax.tree.map(jnp.zeros_like, z)
        return AdaptResult(dynamics.step_sizes(fresh, nowhere, noise_fraction), kept)

    num = CURVATURE_PROBES + POWER_STEPS + POWER_AVERAGE
    product = _hessian_product(gradient, z, key_batch, num)
    rows = hessian_row_norms(product, key_probe, z, CURVATURE_PROBES)
    rows = pool(jax.tree.map(_finite(jnp.inf), rows), "max")
    top = jnp.max(jnp.stack([jnp.max(r, initial=0.0) for r in jax.tree.leaves(rows)]))
    # Flat directions (no prior, no data) get a bound relative to the steepest one.
    floor = jnp.where(jnp.isfinite(top) & (top > 0), 1e-8 * top, 1.0)
    rows = jax.tree.map(lambda r: jnp.maximum(r, floor.astype(r.dtype)), rows)
    step_size = dynamics.step_sizes(fresh, rows, noise_fraction)

    def scaled(vector):
        """In units of the largest frequency allowed; no array is kept for the scale."""
        here = varying(step_size, vector)
        squared = dynamics.squared_frequency(here, z)
        return jax.tree.map(lambda s, v: jnp.sqrt(s) * v, squared, vector)

    def scaled_product(t, vector):
        return scaled(product(t + CURVATURE_PROBES, scaled(vector)))

    eigenvalue, _ = power_iteration(
        scaled_product, key_power, z, POWER_STEPS, POWER_AVERAGE
    )
    excess = pool(eigenvalue, "max")
    shrink = 1.0 / jnp.maximum(jnp.where(jnp.isfinite(excess), excess, 1e4), 1.0)
    step_size = when(shrink < 1, lambda a: dynamics.shrunk(a, shrink), step_size)
    return AdaptResult(step_size, kept)


def _finite(value):
    return lambda x: jnp.where(jnp.isfinite(x), x, value)


def noise_eigenvalue(
    rng_key: jax.Array, dynamics, gradient: GradientFns, z: Tree, step_size: Tree
) -> jax.Array:
    """
    Largest eigenvalue of the minibatch noise covariance in units of the thermostat's
    noise. Its diagonal is the noise fraction f; along an eigenvector of eigenvalue `l`
    the chain runs at about `T (1 + l - f)`, since the compensation is diagonal.

    :return: scalar; 0 for a gradient without noise.
    """
    halves = gradient.halves
    if halves is None:
        return jnp.zeros((), jnp.result_type(*jax.tree.leaves(z)))
    key_batch, key_power = random.split(rng_key)
    steps, average, num = 8, 16, 8
    batches = gradient.draw_batches(key_batch, (steps + average) * num)
    half = 0.5 * float(np.sqrt(gradient.fraction))

    def product(t, vector):
        def add(j, total):
            here, step = varying((z, step_size), j)
            first, second = halves(here, batch_at(batches, t * num + j))
            ones = jax.tree.map(jnp.ones_like, z)
            scale = dynamics.noise_fractions(step, ones)
            d = jax.tree.map(
                lambda s, a, b: jnp.sqrt(s) * half * (a - b), scale, first, second
            )
            weight = tree_dot(d, vector) / num
            return jax.tree.map(lambda t, x: t + weight * x, total, d)

        return lax.fori_loop(0, num, add, jax.tree.map(jnp.zeros_like, vector))

    return power_iteration(product, key_power, z, steps, average)[0]
