# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The criteria over a range of k, with the exponents of their decay."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from scipy.stats import t as student_t

from numpyro_pl.landscape.criteria import gaussian_moment
from numpyro_pl.landscape.eigenspace import (
    Eigenspace,
    check_eigenspace,
    eigenspace_of,
)
from numpyro_pl.landscape.loss import compress, compress_each, losses_of_all
from numpyro_pl.landscape.solution import Solution
from numpyro_pl.trees.checks import check_integer, check_positive

__all__ = ["CurveBudget", "Slope", "StabilizationCurve", "stabilization_curve"]

CURVE_TOL = 1e-3
"""Tolerance of the eigenspaces that a curve computes for itself."""


class CurveBudget(NamedTuple):
    """
    How much is averaged for each point of a curve.

    - **num_samples** - perturbations for `Delta_2`, the same for all orderings; at
      least 2.
    - **num_orderings** - random orderings of the data, at least 2: the interval of a
      slope is their spread.
    - **num_next** - candidates for the next example at each k.
    """

    num_samples: int = 32
    num_orderings: int = 8
    num_next: int = 8


DEFAULT_BUDGET = CurveBudget()
"""The default budget of :func:`stabilization_curve`."""


class Slope(NamedTuple):
    """
    Exponent of a power law in k.

    - **value** - mean over orderings of the least-squares slope in log-log scale.
    - **low**, **high** - 95 % interval for it, Student's t over orderings.
    """

    value: float
    low: float
    high: float


class StabilizationCurve(NamedTuple):
    """
    The three criteria over k, one row for each ordering of the data.

    - **ks** - shape (K,).
    - **delta1**, **delta2**, **delta2_subspace** - shape (num_orderings, K).
    - **slopes** - :class:`Slope` of each, by these names.
    - **a**, **c**, **B** - compressed coefficients of the increment, shapes
      (num_orderings, K, num_next), followed by (D,) for c and (D, D) for B. They give
      the closed form at any sigma and any smaller D, see :func:`gaussian_moment`.
    - **sigma** - standard deviation of the perturbation.
    """

    ks: np.ndarray
    delta1: np.ndarray
    delta2: np.ndarray
    delta2_subspace: np.ndarray
    slopes: dict[str, Slope]
    a: np.ndarray
    c: np.ndarray
    B: np.ndarray
    sigma: float


def _fit_slope(ks: np.ndarray, values: np.ndarray) -> Slope:
    x = np.log(ks) - np.log(ks).mean()
    slopes = np.log(values) @ x / (x @ x)
    half = student_t.ppf(0.975, len(slopes) - 1) * slopes.std(ddof=1)
    half = half / np.sqrt(len(slopes))
    return Slope(*(float(slopes.mean() + s * half) for s in (0, -1, 1)))


class _Along(NamedTuple):
    """One ordering of the data, and where on it increments are taken."""

    order: jax.Array
    ks: np.ndarray
    num_next: int

    def increments(self, values) -> np.ndarray:
        """
        Increments of per-example values (losses or their derivatives).

        :param values: examples along the leading axis: shape (m, ...).
        :return: shape (K, num_next, ...).
        """
        ks = self.ks
        values = np.asarray(values, np.float64)[np.asarray(self.order)]
        starts = np.concatenate([[0], ks[:-1]])
        sums = np.cumsum(np.add.reduceat(values[: ks[-1]], starts), axis=0)
        k = ks.reshape(-1, *[1] * (values.ndim - 1))
        added = values[ks[:, None] + np.arange(self.num_next)]
        return (added - (sums / k)[:, None]) / (k[:, None] + 1)


def _check_ks(solution: Solution, ks: Sequence[int], num_next: int) -> np.ndarray:
    counts = np.asarray([solution.check_count(k, num_next) for k in ks])
    if len(counts) < 2 or (np.diff(counts) <= 0).any():
        raise ValueError(f"ks={list(ks)} must hold at least two k, increasing.")
    return counts


def _coefficients(
    solution: Solution,
    eigenspace: Eigenspace | int,
    paths: Sequence[_Along],
    rng_key: jax.Array,
) -> list[np.ndarray]:
    """
    Compressed coefficients a, c and B of the increment, with leading axes
    (num_orderings, K, num_next).
    """
    if isinstance(eigenspace, Eigenspace):
        # One pass serves all k and orderings: the mean of the derivatives is linear.
        m = solution.num_examples
        problem, every = solution.first(m, num_next=0), jnp.arange(m)
        each = compress_each(problem, every, eigenspace.eigenvectors)
        return [np.stack([path.increments(x) for path in paths]) for x in each]

    def at(k: int, path: _Along):
        problem = solution.first(k, path.order, path.num_next)
        space = eigenspace_of(problem, eigenspace, rng_key, CURVE_TOL)
        return compress(problem, space.eigenvectors, path.num_next)

    rows = [[at(k, path) for k in path.ks.tolist()] for path in paths]
    return [np.asarray([[at_k[i] for at_k in row] for row in rows]) for i in range(3)]


def stabilization_curve(
    solution: Solution,
    ks: Sequence[int],
    *,
    sigma: float,
    rng_key: jax.Array,
    eigenspace: Eigenspace | int,
    budget: CurveBudget = DEFAULT_BUDGET,
) -> StabilizationCurve:
    """
    `Delta_1`, `Delta_2` and the closed form of `Delta_2^(D)` over a range of k, along
    several random orderings of the data, with the exponents of their decay
    (arXiv:2604.14870: -1, -2 and -2).

    The increment depends on which example comes next far more than on k, so each point
    is a mean over `num_next` candidates for it. `Delta_1` and `Delta_2` of all
    orderings and k come from `num_samples + 1` passes over the data; `Delta_2^(D)`
    takes one eigenspace for each ordering and k, unless one is given for all, and then
    D products with the Hessian of each example.

    :param Solution solution: loss, parameters and data of m examples.
    :param ks: increasing numbers of examples, the last at most `m - num_next`.
    :param float sigma: standard deviation of the perturbation.
    :param rng_key: a PRNG key.
    :param eigenspace: one :class:`Eigenspace` for all k, from :func:`top_eigenspace`:
        an approximation, exact only in the limit of large k, that saves most of the
        time. Or the dimension D: each ordering and k then has an eigenspace of its own,
        to a tolerance of 1e-3.
    :param CurveBudget budget: numbers of perturbations, orderings and candidates.
    :return: :class:`StabilizationCurve`.
    :raises ValueError: for settings out of range, or an eigenspace of other parameters.
    """
    sigma = check_positive("sigma", sigma)
    check_integer("num_samples", budget.num_samples, least=2)
    check_integer("num_orderings", budget.num_orderings, least=2)
    check_integer("num_next", budget.num_next)
    counts = _check_ks(solution, ks, budget.num_next)
    check_eigenspace(eigenspace, solution.params)
    key_order, key_space, key_samples = random.split(rng_key, 3)
    m = solution.num_examples
    paths = [
        _Along(random.permutation(key, m), counts, budget.num_next)
        for key in random.split(key_order, budget.num_orderings)
    ]
    problem = solution.first(m, num_next=0)
    here = losses_of_all(problem, key_samples[None], 0.0)
    keys = random.split(key_samples, budget.num_samples)
    moved = losses_of_all(problem, keys, sigma)
    a, c, B = (
        np.asarray(x, np.float64)
        for x in _coefficients(solution, eigenspace, paths, key_space)
    )
    values = {
        "delta1": [np.abs(path.increments(here.T)).mean((1, 2)) for path in paths],
        "delta2": [np.square(path.increments(moved.T)).mean((1, 2)) for path in paths],
        "delta2_subspace": gaussian_moment(a, c, B, sigma).mean(-1),
    }
    values = {name: np.asarray(value) for name, value in values.items()}
    slopes = {name: _fit_slope(counts, value) for name, value in values.items()}
    return StabilizationCurve(
        counts, **values, slopes=slopes, a=a, c=c, B=B, sigma=sigma
    )
