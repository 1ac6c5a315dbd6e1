# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The criteria over a range of sigma, and over posterior draws."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.landscape.criteria import (
    QUADRATIC_TOL,
    delta2_subspace,
    model_error,
)
from numpyro_pl.landscape.eigenspace import Eigenspace, eigenspace_of
from numpyro_pl.landscape.loss import CHUNK_SIZE, Loss, compress
from numpyro_pl.landscape.solution import Solution
from numpyro_pl.trees.arithmetic import Tree, row
from numpyro_pl.trees.checks import check_integer, check_positive

__all__ = [
    "CriterionOverDraws",
    "QuadraticValidity",
    "delta2_over_draws",
    "quadratic_validity",
]


class QuadraticValidity(NamedTuple):
    """
    How far the quadratic model of the increment holds.

    - **sigmas** - ascending, shape (S,).
    - **relative_error** - root-mean-square difference to the true increment, relative
      to the root-mean-square increment, shape (S,).
    - **tol** - relative error that counts as valid.
    - **trusted_sigma** - the largest sigma of the list up to which all are valid; 0 if
      the first is not.
    """

    sigmas: np.ndarray
    relative_error: np.ndarray
    tol: float
    trusted_sigma: float


class CriterionOverDraws(NamedTuple):
    """
    A criterion over posterior draws.

    - **values** - one for each draw, shape (num_draws,).
    - **standard_errors** - Monte Carlo standard error of each, shape (num_draws,).
    - **mean**, **standard_deviation** - over draws.
    - **quantiles** - over draws, at 5, 50 and 95 %.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    mean: float
    standard_deviation: float
    quantiles: np.ndarray


def quadratic_validity(
    solution: Solution,
    k: int,
    *,
    sigmas: Sequence[float],
    rng_key: jax.Array,
    eigenspace: Eigenspace | int,
    num_samples: int = 32,
    tol: float = QUADRATIC_TOL,
) -> QuadraticValidity:
    """
    Error of the increment's quadratic model in the top eigenspace against the size of
    the perturbation: up to which sigma the closed form of `Delta_2^(D)` may be trusted.
    The relative error of `Delta_2^(D)` itself is at most about twice this one.

    :param Solution solution: loss, parameters and data of m examples.
    :param int k: examples in the mean, `1 <= k < m`; example k is the one added.
    :param sigmas: standard deviations along each eigenvector.
    :param rng_key: a PRNG key.
    :param eigenspace: an :class:`Eigenspace`, or the dimension D of the one to compute
        here.
    :param int num_samples: draws of z, the same directions for all sigmas.
    :param float tol: relative error that counts as valid.
    :return: :class:`QuadraticValidity`.
    :raises ValueError: for settings out of range, or an eigenspace of other parameters.
    """
    sizes = np.sort(np.asarray(sigmas, np.float64))
    if not len(sizes):
        raise ValueError("sigmas is empty.")
    for i, sigma in enumerate(sizes):
        check_positive(f"sigmas[{i}]", float(sigma))
    check_integer("num_samples", num_samples)
    tol = check_positive("tol", tol)
    problem = solution.first(k)
    key_space, key_samples = random.split(rng_key)
    space = eigenspace_of(problem, eigenspace, key_space)
    coefficients = [x[0] for x in compress(problem, space.eigenvectors)]
    shape = (num_samples, space.dim)
    zs = random.normal(key_samples, shape, space.eigenvalues.dtype)
    errors = np.asarray(
        [
            model_error(problem, space, coefficients, zs * jnp.asarray(s, zs.dtype))
            for s in sizes
        ]
    )
    valid = np.cumprod(errors <= tol).astype(bool)
    trusted = float(sizes[valid][-1]) if valid.any() else 0.0
    return QuadraticValidity(sizes, errors, tol, trusted)


def delta2_over_draws(
    per_example_loss: Loss,
    draws: Tree,
    data: Tree,
    k: int,
    *,
    rng_key: jax.Array,
    max_draws: int = 32,
    chunk_size: int = CHUNK_SIZE,
    **settings,
) -> CriterionOverDraws:
    """
    :func:`delta2_subspace` at posterior draws: the spread of the criterion across the
    posterior. A draw is not a stationary point; the closed form includes the gradient
    of the increment.

    :param per_example_loss: see :class:`Solution`.
    :param draws: parameters with a leading axis of draws, chains merged; unconstrained
        if the loss is from :func:`from_model`.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: examples in the mean, `1 <= k < m`; example k is the one added.
    :param rng_key: a PRNG key.
    :param int max_draws: number of draws taken, evenly spaced.
    :param int chunk_size: examples evaluated at a time.
    :param settings: arguments of :func:`delta2_subspace` (`sigma`, `eigenspace`,
        `estimator`, `num_samples`). All draws share an :class:`Eigenspace`; with a
        dimension each has its own.
    :return: :class:`CriterionOverDraws`.
    :raises ValueError: if `draws` have no common leading axis, and as for
        :func:`delta2_subspace`.
    """
    lengths = {jnp.shape(x)[:1] for x in jax.tree.leaves(draws)}
    if len(lengths) != 1 or lengths == {()} or lengths == {(0,)}:
        raise ValueError(
            "draws must be a tree of arrays with one leading axis of draws, the same "
            f"and not empty; got leading axes {sorted(lengths)}."
        )
    check_integer("max_draws", max_draws)
    ((num,),) = lengths
    taken = np.unique(np.linspace(0, num - 1, min(num, max_draws)).round().astype(int))
    results = []
    for i in taken.tolist():
        draw = Solution(per_example_loss, row(draws, i), data, chunk_size)
        key = random.fold_in(rng_key, i)
        results.append(delta2_subspace(draw, k, rng_key=key, **settings))
    values = np.array([r.value for r in results])
    return CriterionOverDraws(
        values,
        np.array([r.standard_error for r in results]),
        float(values.mean()),
        float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        np.quantile(values, [0.05, 0.5, 0.95]),
    )
