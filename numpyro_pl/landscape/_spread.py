# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The criteria over a range of sigma, and over posterior draws."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.landscape._criteria import (
    QUADRATIC_TOLERANCE,
    delta2_subspace,
    quadratic_increment,
    relative_rms,
)
from numpyro_pl.landscape._eigenspace import (
    Eigenspace,
    check_dim,
    check_eigenspace,
    top_eigenspace,
)
from numpyro_pl.landscape._loss import (
    CHUNK_SIZE,
    Loss,
    PyTree,
    as_pytree,
    check_count,
    check_positive,
    check_problem,
    compress,
    increments_subspace,
)


class QuadraticValidity(NamedTuple):
    """
    How far the quadratic model of the increment holds.

    - **sigmas** - ascending, shape (S,).
    - **relative_error** - root-mean-square difference to the true increment, relative
      to the root-mean-square increment, shape (S,).
    - **tolerance** - relative error that counts as valid.
    - **trusted_sigma** - the largest sigma of the list up to which all are valid; 0 if
      the first is not.
    """

    sigmas: np.ndarray
    relative_error: np.ndarray
    tolerance: float
    trusted_sigma: float


class CriterionOverDraws(NamedTuple):
    """
    A criterion over posterior draws.

    - **values** - one for each draw, shape (num_draws,).
    - **standard_errors** - of each (Monte Carlo), shape (num_draws,).
    - **mean**, **standard_deviation** - over draws.
    - **quantiles** - over draws, at 5, 50 and 95 %.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    mean: float
    standard_deviation: float
    quantiles: np.ndarray


def quadratic_validity(
    per_example_loss: Loss,
    params: PyTree,
    data: PyTree,
    k: int,
    *,
    sigmas: Sequence[float],
    dim: int | None = None,
    num_samples: int = 32,
    key: jax.Array,
    eigenspace: Eigenspace | None = None,
    tolerance: float = QUADRATIC_TOLERANCE,
    chunk_size: int = CHUNK_SIZE,
) -> QuadraticValidity:
    """
    Error of the increment's quadratic model in the top eigenspace against the size of
    the perturbation: up to which sigma the closed form of `Delta_2^(D)` may be trusted.
    The relative error of `Delta_2^(D)` itself is at most about twice this one.

    :param per_example_loss: as for :func:`delta1`.
    :param params: tree of arrays, the solution.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: examples in the mean; example k is the one added.
    :param sigmas: standard deviations along each eigenvector.
    :param int dim: dimension of the subspace; may be left out with `eigenspace`.
    :param int num_samples: draws of z, the same directions for all sigmas.
    :param key: a PRNG key.
    :param Eigenspace eigenspace: computed if None.
    :param float tolerance: relative error that counts as valid.
    :param int chunk_size: examples evaluated at a time.
    :return: :class:`QuadraticValidity`.
    """
    m = check_problem(per_example_loss, params, data)
    k = check_count(k, m)
    sizes = np.sort(np.asarray(sigmas, np.float64))
    if not len(sizes):
        raise ValueError("sigmas is empty.")
    check_positive(
        **{f"sigmas[{i}]": s for i, s in enumerate(sizes)},
        num_samples=num_samples,
        tolerance=tolerance,
        chunk_size=chunk_size,
    )
    key_space, key_samples = random.split(key)
    if eigenspace is None:
        eigenspace = top_eigenspace(
            per_example_loss,
            params,
            data,
            k,
            dim=check_dim(dim, params),
            key=key_space,
            chunk_size=chunk_size,
        )
    dim = check_eigenspace(eigenspace, params, dim)
    problem = as_pytree(per_example_loss), params, data, jnp.arange(m), k
    vectors = eigenspace.eigenvectors
    a, c, B = (
        x[0] for x in compress(*problem, vectors, num_next=1, chunk_size=chunk_size)
    )
    zs = random.normal(key_samples, (num_samples, dim), eigenspace.eigenvalues.dtype)
    errors = []
    for sigma in sizes:
        scaled = zs * jnp.asarray(sigma, zs.dtype)
        truth = increments_subspace(*problem, vectors, scaled, chunk_size=chunk_size)
        errors.append(relative_rms(truth - quadratic_increment(a, c, B, scaled), truth))
    valid = np.cumprod(np.asarray(errors) <= tolerance).astype(bool)
    trusted = float(sizes[valid][-1]) if valid.any() else 0.0
    return QuadraticValidity(sizes, np.asarray(errors), tolerance, trusted)


def delta2_over_draws(
    per_example_loss: Loss,
    draws: PyTree,
    data: PyTree,
    k: int,
    *,
    key: jax.Array,
    max_draws: int = 32,
    **settings,
) -> CriterionOverDraws:
    """
    :func:`delta2_subspace` at posterior draws: the spread of the criterion across the
    posterior. A draw is no stationary point, and the increment's own gradient is part
    of the formula.

    :param per_example_loss: as for :func:`delta1`.
    :param draws: parameters with a leading axis of draws, chains merged; unconstrained
        where the loss is from :func:`from_model`.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: examples in the mean; example k is the one added.
    :param key: a PRNG key.
    :param int max_draws: number of draws taken, evenly spaced.
    :param settings: arguments of :func:`delta2_subspace` (`dim`, `sigma`, `estimator`,
        ...). With `eigenspace`, all draws share it; else each has its own.
    :return: :class:`CriterionOverDraws`.
    """
    lengths = {jnp.shape(x)[:1] for x in jax.tree.leaves(draws)}
    if len(lengths) != 1 or lengths == {()} or lengths == {(0,)}:
        raise ValueError(
            "draws must be a tree of arrays with one leading axis of draws, the same "
            f"and not empty; got leading axes {sorted(lengths)}."
        )
    check_positive(max_draws=max_draws)
    ((num,),) = lengths
    taken = np.unique(np.linspace(0, num - 1, min(num, max_draws)).round().astype(int))
    results = [
        delta2_subspace(
            per_example_loss,
            jax.tree.map(lambda x, i=i: x[i], draws),
            data,
            k,
            key=random.fold_in(key, i),
            **settings,
        )
        for i in taken.tolist()
    ]
    values = np.array([r.value for r in results])
    return CriterionOverDraws(
        values,
        np.array([r.standard_error for r in results]),
        float(values.mean()),
        float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        np.quantile(values, [0.05, 0.5, 0.95]),
    )
