# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How normal the noise of minibatch gradients is, by group of parameters.

Minibatch Langevin dynamics uses the noise's variance alone. Noise of many rows is
nearly normal; that of a minibatch in which a few badly fitted rows decide is not.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax import lax, random

from numpyro_pl.model.arguments import ArgumentPrograms
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential
from numpyro_pl.model.sites import inspect_sites
from numpyro_pl.trees.arithmetic import Tree, leaf_names
from numpyro_pl.trees.checks import check_integer

__all__ = ["minibatch_noise", "noise_normality"]

BLOCKS = 20
"""Blocks of minibatches, each left out once for the standard errors."""


def minibatch_noise(
    model: Callable,
    params: Mapping[str, Any],
    rng_key: jax.Array,
    *args: Any,
    num_batches: int = 1000,
    max_coordinates: int = 200,
    **kwargs: Any,
) -> dict[str, np.ndarray]:
    """
    The noise of the minibatch gradient at one position: gradients of fresh minibatches,
    drawn as the kernels draw them, minus their mean and divided by their standard
    deviation, coordinate by coordinate. It is the noise without a control variate.

    :param model: a NumPyro model with a subsampled plate.
    :param params: the position: *unconstrained* values of all latent sites by name, as
        in the state of a kernel (of one chain: `jax.tree.map(lambda z: z[0],
        mcmc.last_state.z)`).
    :param rng_key: a PRNG key.
    :param args: positional arguments of the model.
    :param int num_batches: number of minibatches, at least 40.
    :param int max_coordinates: most coordinates of a site, chosen at random.
    :param kwargs: keyword arguments of the model.
    :return: arrays of shape (num_batches, coordinates) by site; coordinates without
        noise are left out.
    :raises ValueError: for a model without a subsampled plate, or values that are not
        those of its latent sites.
    """
    check_integer("num_batches", num_batches, least=2 * BLOCKS)
    check_integer("max_coordinates", max_coordinates)
    plates = PlateSizes.of(model, *args, **kwargs)
    if not plates:
        raise ValueError(
            "the model has no subsampled plate, and its gradient no noise: give a "
            "plate subsample_size=... smaller than its size."
        )
    _check_sites(params, inspect_sites(model, plates, args, kwargs).latent)
    potential = MinibatchPotential(model, plates)
    key_batches, key_choice = random.split(rng_key)
    chosen = _chosen_coordinates(key_choice, params, max_coordinates)

    def gradients(data, params):
        def of_batch(rows):
            g = jax.grad(lambda z: potential(z, rows, *data))(params)
            return jax.tree.map(lambda x, index: x.reshape(-1)[index], g, chosen)

        return lax.map(of_batch, potential.draw_indices(key_batches, num_batches))

    programs = ArgumentPrograms()
    data = programs.prepare(args, kwargs)
    found = programs.call("noise", gradients, data, dict(params))
    names = leaf_names(found)
    return {
        n: _standardized(x) for n, x in zip(names, jax.tree.leaves(found), strict=True)
    }


def noise_normality(noise: Mapping[str, Any]) -> pd.DataFrame:
    """
    Skewness and excess kurtosis of minibatch noise by group, both zero for a normal
    distribution. For minibatches of B rows they are those of the gradient of single
    rows divided by `sqrt(B)` and by `B`.

    Both are means over the coordinates of a group. Skewnesses of opposite sign cancel
    in it; kurtosis does not.

    :param noise: arrays of shape (minibatches, coordinates) by group, as from
        :func:`minibatch_noise`; to join sites to groups, concatenate their arrays along
        the last axis.
    :return: a table with a row for each group and the columns `skewness`,
        `excess_kurtosis`, their standard errors `skewness_se` and `excess_kurtosis_se`,
        and `coordinates`, the number of these. Estimates are corrected for bias, and
        standard errors estimated, by a jackknife over 20 blocks of minibatches; under
        heavy tails both are rough. NaN for a group without noise.
    :raises ValueError: for an array of another shape, or of fewer than 40 minibatches.
    """
    rows = {}
    for name, values in noise.items():
        x = np.asarray(values, np.float64)
        if x.ndim != 2 or len(x) < 2 * BLOCKS:
            raise ValueError(
                f"the noise of '{name}' has shape {x.shape}; it must be (minibatches, "
                f"coordinates), with at least {2 * BLOCKS} minibatches."
            )
        estimates, errors = _jackknife(x)
        rows[name] = (estimates[0], errors[0], estimates[1], errors[1], x.shape[1])
    columns = ["skewness", "skewness_se", "excess_kurtosis", "excess_kurtosis_se"]
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=[*columns, "coordinates"]
    )


def _check_sites(params: Any, latent: Any) -> None:
    if not isinstance(params, Mapping) or set(params) != set(latent or ()):
        got = sorted(params) if isinstance(params, Mapping) else type(params)
        raise ValueError(
            "params must be a dict of unconstrained values for the sites "
            f"{sorted(latent or ())}, got {got}."
        )


def _chosen_coordinates(rng_key: jax.Array, params: Any, most: int) -> Tree:
    """Numbers of the coordinates that are looked at, a tree like the position."""

    def choose(leaf, key):
        size = math.prod(np.shape(leaf))
        return random.choice(key, size, (min(size, most),), replace=False)

    leaves, treedef = jax.tree.flatten(dict(params))
    keys = random.split(rng_key, len(leaves))
    chosen = [choose(x, k) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, chosen)


def _standardized(gradients: jax.Array) -> np.ndarray:
    x = np.asarray(gradients)
    # Exactly, because the computed variance of equal numbers may be a rounding error.
    x = x[:, x.min(0) < x.max(0)].astype(np.float64)
    return (x - x.mean(0)) / x.std(0)


def _jackknife(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skewness and excess kurtosis, and their standard errors."""
    if not x.shape[1]:
        return np.full(2, np.nan), np.full(2, np.nan)
    blocks = np.array_split(x, BLOCKS)
    powers = np.array([[(b**p).sum(0) for p in range(5)] for b in blocks])
    total = powers.sum(0)
    whole = _skewness_and_kurtosis(total)
    without = np.array([_skewness_and_kurtosis(total - p) for p in powers])
    correction = (BLOCKS - 1) * (without.mean(0) - whole)
    return whole - correction, np.sqrt((BLOCKS - 1) * without.var(0))


def _skewness_and_kurtosis(powers: np.ndarray) -> np.ndarray:
    """
    Means over coordinates of skewness and excess kurtosis.

    :param powers: sums of the powers 0 to 4, of shape (5, coordinates).
    """
    m, m2, m3, m4 = powers[1:] / powers[0]
    variance = m2 - m**2
    third = m3 - 3 * m * m2 + 2 * m**3
    fourth = m4 - 4 * m * m3 + 6 * m**2 * m2 - 3 * m**4
    return np.array(
        [(third / variance**1.5).mean(), (fourth / variance**2).mean() - 3.0]
    )
