# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warmup: what it takes so that a user gives no step size.

At a few draws of the warmup (the *events*: each power of two, then half, three quarters
and nine tenths of it) the chain stops, measures the minibatch noise and the curvature
where it stands, and sets its step sizes anew:

* noise: half-differences over one pass of the data (at most :data:`NOISE_BATCHES`
  minibatches), so that a feature seen in a few rows only is not missed;
* curvature: norms of the Hessian's rows by random probes, then the largest eigenvalue
  of the mass-scaled Hessian by power iteration, both on minibatches.

In the first half of the warmup the minibatches may supply more of the noise
(:data:`BURN_IN_FRACTION`): the chain is then too hot but travels fast, which is what the
way to the typical set needs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax, random
import jax.numpy as jnp
import numpy as np

from numpyro_pl.curvature import hessian_row_norms, power_iteration, tree_dot
from numpyro_pl.dynamics.integrate import GradientFns
from numpyro_pl.dynamics.noise import half_difference_variance

__all__ = [
    "AdaptResult",
    "adapt",
    "burn_in_end",
    "estimate_noise",
    "event_draws",
    "noise_eigenvalue",
]

Tree = Any

NOISE_BATCHES = 256
"""Most minibatches used to measure the noise at one event."""

MIN_NOISE_BATCHES = 16
"""Fewest minibatches used to measure the noise at one event."""

CURVATURE_PROBES = 16
"""Random probes of the Hessian's rows at one event."""

BURN_IN_FRACTION = 0.5
"""Noise fraction in the first half of warmup (the user's, if that is larger)."""


class AdaptResult(NamedTuple):
    """
    What an event sets.

    - **step_size** - step sizes, a tree like the position.
    - **noise_variance** - variance of the minibatch noise, a tree like the position.
    """

    step_size: Tree
    noise_variance: Tree


def event_draws(num_warmup: int) -> np.ndarray:
    """
    Draws of the warmup after which the step sizes are set: powers of two, then half,
    three quarters and nine tenths. Between events they are constant.

    :param int num_warmup: number of warmup draws.
    """
    if num_warmup < 1:
        return np.zeros(0, int)
    powers = 2 ** np.arange(int(np.log2(num_warmup)) + 1)
    events = {int(p) for p in powers if p <= num_warmup / 2}
    events |= {max(1, int(f * num_warmup)) for f in (0.5, 0.75, 0.9)}
    return np.array(sorted(events))


def burn_in_end(num_warmup: int) -> int:
    """Draw at which the noise fraction goes to the user's, and the step sizes with it."""
    return max(1, int(0.5 * num_warmup)) if num_warmup else 0


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
        first, second = halves(z, batch)
        new = half_difference_variance(first, second, gradient.fraction)
        return jax.tree.map(jnp.add, total, new), None

    total, _ = lax.scan(body, zeros, gradient.draw_batches(rng_key, num_batches))
    return jax.tree.map(lambda t: t / num_batches, total)


def _batched_hvp(gradient: GradientFns, z: Tree) -> Callable[[jax.Array, Tree], Tree]:
    """Hessian-vector product on a minibatch drawn from the key."""

    def product(key, vector):
        batch = jax.tree.map(lambda b: b[0], gradient.draw_batches(key, 1))
        return jax.jvp(lambda x: gradient.grad(x, batch), (z,), (vector,))[1]

    return product


def adapt(
    rng_key: jax.Array,
    dynamics,
    gradient: GradientFns,
    z: Tree,
    variance: Tree,
    noise_fraction,
    num_batches: int,
) -> AdaptResult:
    """
    Set the step sizes from the noise and the curvature at `z`.

    :param rng_key: a PRNG key.
    :param dynamics: the dynamics whose step sizes are set.
    :param GradientFns gradient: gradients of the potential.
    :param z: position.
    :param variance: running noise variance, or None to use the fresh measurement alone.
    :param noise_fraction: wanted share of the thermostat's noise.
    :param int num_batches: minibatches of the noise measurement.
    """
    key_noise, key_probe, key_power = random.split(rng_key, 3)
    fresh = estimate_noise(key_noise, gradient, z, num_batches)
    if variance is not None:
        fresh = jax.tree.map(lambda v, f: 0.5 * (v + f), variance, fresh)
    fresh = jax.tree.map(_finite(0.0), fresh)

    product = _batched_hvp(gradient, z)
    rows = hessian_row_norms(product, key_probe, z, CURVATURE_PROBES)
    rows = jax.tree.map(_finite(jnp.inf), rows)
    top = jnp.max(jnp.stack([jnp.max(r, initial=0.0) for r in jax.tree.leaves(rows)]))
    # Flat directions (no prior, no data) get a bound relative to the steepest one.
    floor = jnp.where(jnp.isfinite(top) & (top > 0), 1e-8 * top, 1.0)
    rows = jax.tree.map(lambda r: jnp.maximum(r, floor.astype(r.dtype)), rows)
    step_size = dynamics.step_sizes(fresh, rows, noise_fraction)

    scale = jax.tree.map(jnp.sqrt, dynamics.inverse_mass(step_size))

    def scaled_product(key, vector):
        inner = product(key, jax.tree.map(jnp.multiply, scale, vector))
        return jax.tree.map(jnp.multiply, scale, inner)

    eigenvalue, _ = power_iteration(scaled_product, key_power, z, 12, 4)
    excess = eigenvalue / dynamics.max_frequency**2
    shrink = 1.0 / jnp.maximum(jnp.where(jnp.isfinite(excess), excess, 1e4), 1.0)
    step_size = jax.tree.map(lambda a: a * shrink.astype(a.dtype), step_size)
    return AdaptResult(step_size, fresh)


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
    ones = jax.tree.map(jnp.ones_like, step_size)
    scale = jax.tree.map(jnp.sqrt, dynamics.noise_fractions(step_size, ones))
    num = 8

    def product(key, vector):
        def body(total, batch):
            first, second = halves(z, batch)
            half = 0.5 * float(np.sqrt(gradient.fraction))
            d = jax.tree.map(lambda s, a, b: s * half * (a - b), scale, first, second)
            weight = tree_dot(d, vector) / num
            return jax.tree.map(lambda t, x: t + weight * x, total, d), None

        start = jax.tree.map(jnp.zeros_like, vector)
        return lax.scan(body, start, gradient.draw_batches(key, num))[0]

    return power_iteration(product, rng_key, z, 8, 16)[0]
