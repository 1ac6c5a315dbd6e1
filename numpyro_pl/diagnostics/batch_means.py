# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Averages over draws with standard errors, without the draws: sums over consecutive
batches of them, a few per chain.

Effective sample sizes of the batch means take into account what correlation the batches
still have, and that chains may disagree.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.diagnostics.convergence import summarize_chains

__all__ = ["Average", "averaged", "no_sums", "with_draw"]

MOST_BATCHES, FEWEST_BATCHES = 50, 8
"""Bounds on the batches of a chain; fewer for large arrays."""

ENTRIES = 2**16
"""Entries of the batches of one chain from which there are fewer of them."""


class Average(NamedTuple):
    """
    An average over the draws of all chains.

    - **mean** - the mean.
    - **standard_error** - its Monte Carlo standard error, of the same shape.
    """

    mean: np.ndarray
    standard_error: np.ndarray


def no_sums(values: Any, num_draws: int, num_axes: int) -> Any:
    """
    Sums before the first draw: for each array an array with a leading axis of batches.

    :param values: shapes of what is averaged, as from :func:`jax.eval_shape`.
    :param int num_draws: number of draws to come.
    :param int num_axes: leading axes of `values` that are not averaged over and do not
        count as its size.
    """

    def zeros(value):
        size = max(int(np.prod(value.shape[num_axes:])), 1)
        num = min(num_draws, MOST_BATCHES, max(FEWEST_BATCHES, ENTRIES // size))
        return jnp.zeros((num, *value.shape), jnp.result_type(float))

    return jax.tree.map(zeros, values)


def with_draw(sums: Any, values: Any, draw: jax.Array, num_draws: int) -> Any:
    """
    The sums with one draw more.

    :param sums: the sums.
    :param values: values at the draw.
    :param draw: its number, from 0.
    :param int num_draws: number of draws of the run.
    """

    def added(total, value):
        batch = _batch_of(draw, len(total), num_draws)
        return total.at[batch].add(value.astype(total.dtype))

    return jax.tree.map(added, sums, values)


def averaged(sums: jax.Array, num_draws: int) -> Average:
    """
    Mean and standard error of one array after the last draw.

    :param sums: array of shape (batches, groups, chains, ...).
    :param int num_draws: number of draws of a chain.
    :return: an :class:`Average` of arrays of shape (groups, ...).
    """
    total = np.asarray(sums, np.float64)
    num, num_groups, num_chains = total.shape[:3]
    counts = np.bincount(_batch_of(np.arange(num_draws), num, num_draws))
    batches = total.reshape(num, num_groups, num_chains, -1)
    means = batches / counts[:, None, None, None]
    errors = [
        summarize_chains(np.swapaxes(one, 0, 1)).mcse_mean
        for one in np.moveaxis(means, 1, 0)
    ]
    shape = (num_groups, *total.shape[3:])
    mean = batches.sum(0).mean(1) / num_draws
    return Average(mean.reshape(shape), np.stack(errors).reshape(shape))


def _batch_of(draw: Any, num_batches: int, num_draws: int) -> Any:
    """
    Number of the batch of a draw; batches differ by at most one draw. In whole numbers:
    rounded quotients differ between NumPy and compiled programs.
    """
    return draw * num_batches // num_draws
