# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The way down: from any start to the neighbourhood of the typical set.

Far from it the noise and the curvature say nothing about those to come, and step sizes
taken from them are wrong a moment later. The descent needs neither: each coordinate
moves by a given length, whatever its gradient (as in Adam), and the lengths decrease
geometrically from larger than most posteriors to smaller than most. Thermal noise that
belongs to these steps is added. Without it the chain would end at a mode: of a network
that fits its data, where noise and curvature are tiny and tell nothing about the
typical set; of a hierarchical model, where a scale is zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.trees.arithmetic import Tree, all_finite, is_large, size_of, tree_dot
from numpyro_pl.trees.increments import Increments
from numpyro_pl.trees.random_bits import split

__all__ = ["Averages", "Descent", "descend", "length_shares"]

MEAN_MEMORY, SQUARE_MEMORY = 0.9, 0.99
"""Memories of the mean gradient and of its square, as in Adam."""

RAMP = 10
"""Steps after which the averages are good enough to move at full length."""

NOISE = 0.5
"""Variance of the thermal noise, relative to that of the target's temperature. A step
is long where the gradient has been small, which drives coordinates to such places: a
coordinate of normal prior and without data would have twice its variance."""

LEAST_SHARE = 0.1
"""Of the lengths that belong to the root mean square of all weights: for arrays that
start at zero, as biases do."""

LARGEST_NOISE = 0.5
"""Largest standard deviation of the thermal noise of a step."""

LARGEST = 1e18
"""Larger gradients are cut: a square must be a number of single precision."""


class Descent(NamedTuple):
    """
    A block of steps of the descent.

    - **num_steps** - number of steps.
    - **first_rate**, **last_rate** - length of its first and of its last step, in units
      of the unconstrained coordinates.
    - **increments** - kind of random increments.
    - **active** - whether the chain moves at all.
    - **shares** - share of these lengths that each array moves, a tree like the
      position, see :func:`length_shares`; None: all.
    """

    num_steps: int
    first_rate: jax.Array
    last_rate: jax.Array
    increments: str
    active: jax.Array
    shares: Tree | None = None


class Averages(NamedTuple):
    """
    Averages over the descent so far.

    - **mean** - of the gradients, by group.
    - **square** - of their squares, by group.
    - **num_steps** - steps averaged.
    """

    mean: tuple
    square: tuple
    num_steps: jax.Array

    @classmethod
    def none(cls, position: tuple) -> "Averages":
        """Before the first step."""
        zeros = jax.tree.map(jnp.zeros_like, position)
        return cls(zeros, zeros, jnp.asarray(0))


def descend(
    rng_key: jax.Array,
    gradient: MinibatchGradient,
    start: tuple[tuple, Averages],
    temperature: jax.Array,
    descent: Descent,
) -> tuple[tuple, Averages]:
    """
    A block of steps. Where a gradient is not finite the chain goes back to the last
    position where it was: there may be no gradient beyond it.

    :param rng_key: a PRNG key.
    :param MinibatchGradient gradient: the gradient.
    :param start: the position, by group, and the averages.
    :param temperature: temperature of the target: a scalar, or one for each group.
    :param Descent descent: the steps.
    :return: the two after them: the last position with a finite gradient.
    """
    key_batch, key_step = split(rng_key)
    batches = gradient.draw_batches(key_batch, descent.num_steps)
    temperatures = jnp.broadcast_to(temperature, (len(start[0]),))
    shares = descent.shares
    if shares is None:
        shares = jax.tree.map(lambda _: 1.0, start[0])
    decay = jnp.log(descent.last_rate / descent.first_rate)

    def moved(x, drift, noise):
        return jnp.where(descent.active, x + drift + noise, x)

    def step(t, carry):
        last, x, averages = carry
        g = gradient.grad(x, gradient.batch_at(batches, t))
        found = all_finite(g)
        x = jax.tree.map(lambda new, old: jnp.where(found, new, old), x, last)
        mean, square, num = averages = _averaged(averages, g, found)
        rate = descent.first_rate * jnp.exp(decay * t / descent.num_steps)
        rate *= jnp.minimum(1.0, num / RAMP)
        weights = 1 - MEAN_MEMORY**num, 1 - SQUARE_MEMORY**num
        rates = jax.tree.map(lambda share: rate * share, shares)
        moves = tuple(
            _moves(*group, weights)
            for group in zip(mean, square, rates, temperatures, strict=True)
        )
        noise = Increments(descent.increments, key_step, t).scaled(
            tuple(sd for _, sd in moves)
        )
        drift = tuple(d for d, _ in moves)
        new = jax.tree.map(moved, x, drift, noise)
        return x, new, averages

    # The last step of a block ends where nobody has looked for a gradient.
    first = start[0], *start
    last, _, averages = lax.fori_loop(0, descent.num_steps, step, first)
    return last, averages


def length_shares(position: tuple) -> Tree | None:
    """
    Share of its lengths that the descent takes in each array of a large network.

    Where thousands of weights move together, what counts is their length relative to
    the weights: steps of 0.1 leave no unit of a wide network alive whose weights are as
    small as those with which networks are trained. So lengths are relative to the root
    mean square of the array, or a tenth of that of all weights where this is more; at
    most 1.

    :param position: the position at the start of a block, by group.
    :return: scalars in a tree like the position; None for a small model.
    """
    if not is_large(position):
        return None
    size = size_of(position)
    least = jnp.sqrt(tree_dot(position, position) / size)
    least = jnp.maximum(LEAST_SHARE * least, size**-0.5)

    def share(x):
        return jnp.clip(jnp.sqrt(jnp.mean(jnp.square(x))), least.astype(x.dtype), 1.0)

    return jax.tree.map(share, position)


def _averaged(averages: Averages, gradient: Tree, found: jax.Array) -> Averages:
    """
    Averages with one more gradient. After one that is not finite, coordinates for which
    it is not turn round, for they were on the way there, and the others slow down, for
    the fault may be theirs.

    :param Averages averages: those before.
    :param gradient: the gradient, by group.
    :param found: whether all of it is finite.
    """

    def mean(m, g):
        averaged = MEAN_MEMORY * m + (1 - MEAN_MEMORY) * jnp.clip(g, -LARGEST, LARGEST)
        return jnp.where(found, averaged, jnp.where(jnp.isfinite(g), 0.5 * m, -m))

    def square(s, g):
        squared = jnp.square(jnp.clip(g, -LARGEST, LARGEST))
        return jnp.where(found, SQUARE_MEMORY * s + (1 - SQUARE_MEMORY) * squared, s)

    return Averages(
        jax.tree.map(mean, averages.mean, gradient),
        jax.tree.map(square, averages.square, gradient),
        averages.num_steps + 1,
    )


def _moves(
    mean: Tree, square: Tree, rates: Tree, temperature, weights
) -> tuple[Tree, Tree]:
    """Drift of a group, and standard deviation of its thermal noise."""

    def per_gradient(s, rate):
        least = 2 * rate * temperature / LARGEST_NOISE**2
        size = jnp.sqrt(s / weights[1]) + least
        return (rate / size).astype(s.dtype)

    lengths = jax.tree.map(per_gradient, square, rates)
    drift = jax.tree.map(
        lambda a, m: -a * (m / weights[0]).astype(m.dtype), lengths, mean
    )
    sd = jax.tree.map(
        lambda a: jnp.sqrt(2 * NOISE * a * temperature).astype(a.dtype), lengths
    )
    return drift, sd
