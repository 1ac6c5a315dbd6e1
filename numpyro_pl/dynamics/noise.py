# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The variance of the minibatch noise, estimated from the halves of minibatches."""

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree

__all__ = ["half_difference_variance", "running_mean"]


def half_difference_variance(first: Tree, second: Tree, fraction: float = 1.0) -> Tree:
    """
    Unbiased estimate of the variance of the mean of two independent half-batch
    gradients, `(first - second)^2 / 4`, per coordinate.

    :param first: gradient on one half of a minibatch (each scaled to the full data).
    :param second: gradient on the other half.
    :param float fraction: rows used, relative to the minibatch whose variance is wanted
        (an odd row is left out of the halves).
    :return: a tree like the gradient, in its units squared.
    """
    return jax.tree.map(
        lambda a, b: (0.25 * fraction) * jnp.square(a - b), first, second
    )


def running_mean(mean: Tree, value: Tree, rate) -> Tree:
    """
    One step of an exponential moving average that ignores values that are not finite.

    :param mean: the average so far.
    :param value: the new value, a tree like `mean`.
    :param rate: weight of the new value, in [0, 1].
    """
    return jax.tree.map(
        lambda m, v: jnp.where(jnp.isfinite(v), m + rate * (v - m), m), mean, value
    )
