# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The reference: four long chains of NUTS, with what they say of their own error."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from bnn_digits import sample_nuts

from numpyro_pl import diagnostics

from . import problem

DRAWS = 1000
SPLITS = ([0, 1], [0, 2], [0, 3])
"""Chains of one half of the reference; the other half has the others."""


class Reference(NamedTuple):
    """
    Means of NUTS, and their error.

    - **probs** - mean class probabilities of shape (points, classes).
    - **squares**, **squares_sd** - posterior mean and sd of the mean squares of
      :class:`problem.Sums`, of shape (site,).
    - **noise** - error of `probs`, estimated from the total variation between halves of
      the chains.
    - **squares_noise** - error of `squares` in sd, mean over sites, from halves too.
    - **chain_variation** - mean total variation between single chains.
    - **seconds** - that it took.
    """

    probs: np.ndarray
    squares: np.ndarray
    squares_sd: np.ndarray
    noise: float
    squares_noise: float
    chain_variation: float
    seconds: float


def variation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean total variation distance between predictions of shape (points, classes)."""
    return float(0.5 * np.abs(a - b).sum(-1).mean())


def described(nuts) -> Reference:
    """The reference of a run of NUTS, see :class:`bnn_digits.Posterior`."""
    of_chain = nuts.probs.mean(1)
    found = problem.sums(nuts.samples, problem.data().x_test)
    draws = nuts.probs.shape[1]
    chain_squares = np.asarray(found.squares, float) / draws
    squares = chain_squares.mean(0)
    sd = np.sqrt((np.asarray(found.squares_2, float) / draws).mean(0) - squares**2)
    halves, square_halves = [], []
    for half in SPLITS:
        other = [i for i in range(len(of_chain)) if i not in half]
        halves.append(variation(of_chain[half].mean(0), of_chain[other].mean(0)))
        apart = chain_squares[half].mean(0) - chain_squares[other].mean(0)
        square_halves.append(np.mean(np.abs(apart) / sd))
    pairs = [
        diagnostics.total_variation(nuts.probs[i], nuts.probs[j])
        for i in range(len(of_chain))
        for j in range(i)
    ]
    # The mean of all chains is half as wrong as the halves are apart.
    noise = 0.5 * float(np.mean(halves)), 0.5 * float(np.mean(square_halves))
    probs = of_chain.mean(0)
    return Reference(probs, squares, sd, *noise, float(np.mean(pairs)), nuts.seconds)


def make(path: Path, num_samples: int = DRAWS) -> None:
    """Run NUTS and keep what is needed of it in a file."""
    nuts = sample_nuts(seed=0, num_chains=4, num_samples=num_samples)
    np.savez(path, **described(nuts)._asdict())


def load(path: Path) -> Reference:
    found = np.load(path)
    values = {name: found[name] for name in Reference._fields}
    return Reference(**{k: v if v.ndim else float(v) for k, v in values.items()})
