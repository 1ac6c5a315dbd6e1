# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The minibatch noise at a chain's position: its variances and largest eigenvalue."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.dynamics.noise import half_difference_variance
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.trees.arithmetic import Tree, sum_of, tree_dot
from numpyro_pl.trees.ordering import not_hoisted
from numpyro_pl.trees.random_bits import split
from numpyro_pl.warmup.curvature import power_iteration

__all__ = ["estimate_noise", "noise_batches", "noise_eigenvalue"]

MOST_BATCHES, FEWEST_BATCHES = 256, 16
"""Bounds on the minibatches used to measure the noise at one event."""

POWER_STEPS, POWER_AVERAGE, BATCHES_PER_PRODUCT = 8, 16, 8
"""Power iterations for the eigenvalue, products averaged, and minibatches per
product."""


def noise_batches(steps_per_epoch: int) -> int:
    """Number of minibatches in a measurement: one pass over the data, within bounds, so
    that a feature seen in only a few rows is not missed.
    """
    return int(np.clip(steps_per_epoch, FEWEST_BATCHES, MOST_BATCHES))


def estimate_noise(
    rng_key: jax.Array, gradient: MinibatchGradient, position: Tree, num_batches: int
) -> Tree:
    """
    Mean half-difference variance over fresh minibatches at one position.

    :param rng_key: a PRNG key.
    :param MinibatchGradient gradient: the gradient.
    :param int num_batches: number of minibatches.
    :return: a tree like the position; zeros for a gradient without noise.
    """
    halves = gradient.halves
    if halves is None:
        return jax.tree.map(jnp.zeros_like, position)
    batches = gradient.draw_batches(rng_key, num_batches)

    def variance(t):
        batch = gradient.batch_at(batches, t)
        first, second = halves(not_hoisted(position, t), batch)
        return half_difference_variance(first, second, gradient.fraction)

    return jax.tree.map(lambda t: t / num_batches, sum_of(variance, num_batches))


def noise_eigenvalue(
    rng_key: jax.Array,
    dynamics: Partition,
    gradient: MinibatchGradient,
    position: Tree,
    scales: Tree,
) -> jax.Array:
    """
    Largest eigenvalue of the covariance of the minibatch noise in units of the
    thermostat's noise. Its diagonal is the noise fraction f. Without friction from the
    examples only the diagonal is compensated, and the chain runs at about
    `T (1 + l - f)` along an eigenvector of eigenvalue `l`.

    :return: scalar; 0 for a gradient without noise.
    """
    halves = gradient.halves
    if halves is None:
        return jnp.zeros((), jnp.result_type(*jax.tree.leaves(position)))
    key_batch, key_power = split(rng_key)
    num = BATCHES_PER_PRODUCT
    batches = gradient.draw_batches(key_batch, (POWER_STEPS + POWER_AVERAGE) * num)
    half = 0.5 * math.sqrt(gradient.fraction)

    def product(t, vector):
        def term(j):
            here, step = not_hoisted((position, scales), j)
            first, second = halves(here, gradient.batch_at(batches, t * num + j))
            shares = dynamics.noise_shares(step, jax.tree.map(jnp.ones_like, position))
            noise = jax.tree.map(
                lambda s, a, b: jnp.sqrt(s) * half * (a - b), shares, first, second
            )
            weight = tree_dot(noise, vector) / num
            return jax.tree.map(lambda x: weight * x, noise)

        return sum_of(term, num)

    return power_iteration(product, key_power, position, POWER_STEPS, POWER_AVERAGE)[0]
