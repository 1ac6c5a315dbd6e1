# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Chains to test with, and their convergence measures by ArviZ."""

import numpy as np
import xarray as xr


def ar1(rng, phi, *shape):
    """Stationary chains of shape (chain, draw, ...), each value N(0, 1)."""
    x = rng.normal(size=shape)
    for t in range(1, shape[1]):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * x[:, t]
    return x


def dataset(x):
    return xr.Dataset({"x": (("chain", "draw", "i"), x)})


def arviz_value(fn, x, **kwargs):
    return fn(dataset(x), **kwargs)["x"].to_numpy()
