# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Where a warmup begins: at the user's start, or nearer to zero if that is better."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.trees.arithmetic import (
    Tree,
    all_finite,
    size_of,
    squared_norm,
    sum_of,
    tree_dot,
)
from numpyro_pl.trees.increments import sign_probes
from numpyro_pl.warmup.curvature import HessianProducts

__all__ = ["heat_at_start", "nearer_start"]

HALVINGS = 8
"""Starts tried: the given one, and that many fewer one times halved."""

PROBES = 16
"""Random probes of the trace of the Hessian."""


def nearer_start(
    potential: Callable[[Tree], jax.Array],
    value_and_grad: Callable[[Tree], tuple[jax.Array, Tree]],
    z: Tree,
    temperature,
) -> tuple[Tree, jax.Array, Tree]:
    """
    The start, or its half, quarter, and so on, where the free energy
    `U(s z) - n T log s` of these scales `s` is lowest, with n the number of
    coordinates. A start that is less than n T worse is left as it is: it may be a draw
    of an earlier run.

    Networks need this. At a start from `init_to_uniform` all units of a layer may be
    saturated or dead, and the potential infinite; no gradient leads away from there.

    A scale at which the gradient is not finite is not taken, although the potential
    may be: `sqrt(exp(-x))` has no derivative where the exponential underflows.

    :param potential: potential of a position, in nats.
    :param value_and_grad: potential of a position on the full data, and its gradient.
    :param z: the start.
    :param temperature: temperature of the target.
    :return: (the start, its potential on the full data, the gradient there).
    """
    shares = 0.5 ** jnp.arange(float(HALVINGS))
    size = size_of(z)

    def times(share):
        return jax.tree.map(lambda x: x * share.astype(x.dtype), z)

    def free_energy(share):
        return potential(times(share)) - size * temperature * jnp.log(share)

    energies = lax.map(free_energy, shares)
    energies = jnp.where(jnp.isfinite(energies), energies, jnp.inf)
    limit = energies[0] - size * temperature

    def attempt(state):
        energies = state[0]
        best = jnp.argmin(energies)
        chosen = jnp.where(energies[best] < limit, best, 0)
        energy, slope = value_and_grad(times(shares[chosen]))
        done = (chosen == 0) | all_finite(slope)
        return energies.at[chosen].set(jnp.inf), shares[chosen], energy, slope, done

    first = jax.eval_shape(attempt, (energies,))
    first = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    found = lax.while_loop(lambda s: ~s[-1], attempt, (energies, *first[1:]))
    _, share, energy, slope, _ = found
    return times(share), energy, slope


def heat_at_start(
    rng_key: jax.Array,
    gradient: MinibatchGradient,
    position: tuple,
    slope: tuple,
    temperature,
) -> jax.Array:
    """
    The configurational temperature `|grad U|^2 / trace(Hessian)` relative to T. In
    equilibrium it is about 1, far from it much more, and at a mode nearly 0. Infinite
    where the trace is not positive.

    :param rng_key: a PRNG key.
    :param MinibatchGradient gradient: the gradient on minibatches.
    :param position: the start, by group.
    :param slope: gradient of the full potential there, by group.
    :param temperature: temperature of the target.
    """
    products = HessianProducts.fresh(rng_key, gradient, position, PROBES)
    probe = sign_probes(rng_key, position, PROBES)

    def curvature(t):
        signs = probe(t)
        return tree_dot(signs, products.product(t, signs)) / PROBES

    trace = sum_of(curvature, PROBES)
    heat = squared_norm(slope) / (temperature * jnp.where(trace > 0, trace, 1.0))
    return jnp.where((trace > 0) & jnp.isfinite(heat), heat, jnp.inf)
