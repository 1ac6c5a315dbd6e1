# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""How far chains travel."""

from typing import Any

import numpy as np

from numpyro_pl.diagnostics.draws import posterior_draws

__all__ = ["squared_distance"]


def squared_distance(draws: Any) -> np.ndarray:
    """
    Squared distance of every draw from the first one of its chain, summed over all
    coordinates: how fast a sampler moves, in models whose coordinates have one scale,
    such as the weights of a network. Chains of arXiv:2603.15367 are compared by it
    against wall-clock time, see :func:`~numpyro_pl.plots.plot_squared_distance`.

    Once a chain has forgotten its first draw, the expectation is twice the sum of the
    variances of the coordinates.

    :param draws: an `MCMC` that has run, an ArviZ `InferenceData` or
        `xarray.DataTree`, an `xarray.Dataset`, or a dict of arrays of shape (chain,
        draw, ...) by site. Distances are those of the values there, which for an
        `MCMC` are constrained.
    :return: array of shape (chain, draw), zero at the first draw, in double precision.
    :raises TypeError: for another source.
    :raises ValueError: if there are no draws, or sites differ in their numbers of them.
    """
    arrays = posterior_draws(draws, "posterior").values()
    total = np.zeros(next(iter(arrays)).shape[:2])
    for array in arrays:
        # A chain at a time: double precision would triple a large array.
        for chain, x in enumerate(array):
            moved = x.reshape(len(x), -1).astype(np.float64)
            moved -= moved[0].copy()
            total[chain] += np.einsum("ij,ij->i", moved, moved)
    return total
