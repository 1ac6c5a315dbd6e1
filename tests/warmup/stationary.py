# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Stationary chains of numbers, for tests of what is said of their correlation."""

import numpy as np


def autoregressive(shape, correlation, seed=0):
    """Stationary paths along the last axis, of standard deviation 1."""
    noise = np.random.default_rng(seed).normal(size=shape)
    path = noise.copy()
    for i in range(1, shape[-1]):
        kept = correlation * path[..., i - 1]
        path[..., i] = kept + (1 - correlation**2) ** 0.5 * noise[..., i]
    return path
