# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""How much one more example changes the loss near a solution, at one k."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.landscape.eigenspace import Eigenspace, eigenspace_of
from numpyro_pl.landscape.loss import (
    Problem,
    compress,
    increments,
    increments_full,
    increments_subspace,
    timed,
)
from numpyro_pl.landscape.solution import Solution
from numpyro_pl.trees.checks import check_integer, check_positive

__all__ = [
    "CHECK_SAMPLES",
    "ESTIMATORS",
    "QUADRATIC_TOL",
    "Criterion",
    "delta1",
    "delta2",
    "delta2_subspace",
    "gaussian_moment",
    "model_error",
]

ESTIMATORS = ("gaussian_moment", "quadratic_mc", "direct_mc")
"""Estimators of :func:`delta2_subspace`."""

QUADRATIC_TOL = 0.05
"""Relative error up to which the quadratic model of the increment is trusted."""

CHECK_SAMPLES = 4
"""Perturbations at which the quadratic model is compared with the true increment."""


class Criterion(NamedTuple):
    """
    A stabilization criterion and what it was computed from.

    - **value** - in squared units of the loss, or in its units for `delta1`.
    - **standard_error** - of the Monte Carlo average; 0 if there is none.
    - **a** - the signed increment at the parameters.
    - **c** - its gradient in the subspace, shape (D,); None where not computed.
    - **B** - its Hessian in the subspace, shape (D, D); None where not computed.
    - **seconds** - wall-clock time of each stage by name (`eigenspace`, `compression`,
      `evaluation`, `check`). The first call for given shapes includes compilation.
    - **eigenspace** - the :class:`Eigenspace` used, to pass on; None for full-space
      criteria.
    """

    value: float
    standard_error: float
    a: float
    c: np.ndarray | None
    B: np.ndarray | None
    seconds: dict[str, float]
    eigenspace: Eigenspace | None


def gaussian_moment(a, c, B, sigma) -> np.ndarray:
    r"""
    `E[(a + c.z + z.Bz / 2)^2]` for `z ~ N(0, sigma^2 I)`, in double precision:

    .. math::
        a^2 + a \sigma^2 \operatorname{tr} B + \sigma^2 |c|^2
        + \tfrac{\sigma^4}{4} (2 \operatorname{tr} B^2 + (\operatorname{tr} B)^2)

    (arXiv:2604.14870, with the increment's own gradient for c, so that the solution
    need not be a stationary point).

    :param a: value, any batch shape.
    :param c: gradient, batch shape and (D,).
    :param B: symmetric Hessian, batch shape and (D, D).
    :param sigma: standard deviation; broadcasts against the batch shape.
    :return: array of the batch shape.
    """
    a, c, B = (np.asarray(x, np.float64) for x in (a, c, B))
    square = np.square(np.asarray(sigma, np.float64))
    trace = np.trace(B, axis1=-2, axis2=-1)
    quartic = 2 * np.sum(B * B, axis=(-2, -1)) + trace**2
    linear = a * trace + np.sum(c * c, axis=-1)
    return a**2 + square * linear + square**2 / 4 * quartic


def _quadratic_increment(a, c, B, zs):
    """The quadratic model at each row of `zs`: shape (len(zs),)."""
    return a + zs @ c + 0.5 * jnp.einsum("si,ij,sj->s", zs, B, zs)


@jax.jit
def _quadratic_squares(a, c, B, zs):
    return jnp.square(_quadratic_increment(a, c, B, zs))


def model_error(problem: Problem, space: Eigenspace, coefficients, zs) -> float:
    """
    Relative error of the increment's quadratic model at `params + V z`, a root mean
    square over the rows z of `zs`.

    :param coefficients: (a, c, B) of the model in the span of the eigenvectors V.
    """
    exact = increments_subspace(problem, space.eigenvectors, zs)
    a, c, B = coefficients
    error = np.asarray(exact - _quadratic_increment(a, c, B, zs), np.float64)
    size = max(float(np.mean(np.asarray(exact, np.float64) ** 2)), 1e-300)
    return float(np.sqrt(np.mean(error**2) / size))


def _summary(squares) -> tuple[float, float]:
    """Mean and its standard error."""
    squares = np.asarray(squares, np.float64)
    return float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(len(squares)))


def delta1(solution: Solution, k: int) -> Criterion:
    """
    `Delta_1 = |L_{k+1}(w) - L_k(w)|`, the change at the solution itself
    (arXiv:2604.14870).

    :param Solution solution: loss, parameters w and data of m examples.
    :param int k: examples in the mean, `1 <= k < m`; example k is the one added.
    :return: :class:`Criterion`.
    :raises ValueError: for k out of range.
    """
    (a,), seconds = timed(increments, solution.first(k))
    return Criterion(
        abs(float(a)), 0.0, float(a), None, None, {"evaluation": seconds}, None
    )


def delta2(
    solution: Solution,
    k: int,
    *,
    sigma: float,
    rng_key: jax.Array,
    num_samples: int = 256,
) -> Criterion:
    """
    `Delta_2 = E[(L_{k+1} - L_k)(w + sigma xi)^2]`, xi standard normal in all n
    dimensions, by Monte Carlo (arXiv:2604.14870). Each sample is a pass over k
    examples.

    :param Solution solution: loss, parameters w and data of m examples.
    :param int k: examples in the mean, `1 <= k < m`; example k is the one added.
    :param float sigma: standard deviation of each parameter's perturbation.
    :param rng_key: a PRNG key.
    :param int num_samples: number of perturbations, at least 2.
    :return: :class:`Criterion`.
    :raises ValueError: for settings out of range.
    """
    sigma = check_positive("sigma", sigma)
    check_integer("num_samples", num_samples, least=2)
    problem = solution.first(k)
    keys = random.split(rng_key, num_samples)
    values, seconds = timed(increments_full, problem, keys, sigma)
    value, error = _summary(jnp.square(values))
    a = float(increments(problem)[0])
    return Criterion(value, error, a, None, None, {"evaluation": seconds}, None)


def delta2_subspace(
    solution: Solution,
    k: int,
    *,
    sigma: float,
    rng_key: jax.Array,
    eigenspace: Eigenspace | int,
    estimator: str = "gaussian_moment",
    num_samples: int = 256,
) -> Criterion:
    """
    `Delta_2^(D) = E[(L_{k+1} - L_k)(w + V z)^2]`, `z ~ N(0, sigma^2 I_D)`, V the top-D
    eigenvectors of the Hessian of `L_k` at w (arXiv:2604.14870).

    * `"gaussian_moment"`: closed form of the increment's quadratic model in the span of
      V, see :func:`gaussian_moment`;
    * `"quadratic_mc"`: Monte Carlo on the same model;
    * `"direct_mc"`: Monte Carlo on the increment itself, a pass over k examples for
      each sample.

    The first two compare their model with the true increment at a few z (the stage
    `check`) and warn if it is off by more than 5 %: see :func:`quadratic_validity`.

    :param Solution solution: loss, parameters w and data of m examples.
    :param int k: examples in the mean, `1 <= k < m`; example k is the one added.
    :param float sigma: standard deviation along each eigenvector.
    :param rng_key: a PRNG key.
    :param eigenspace: an :class:`Eigenspace`, from :func:`top_eigenspace` or from an
        earlier result, which saves the longest stage; or the dimension D of the one to
        compute here.
    :param str estimator: see above.
    :param int num_samples: number of z, for the Monte Carlo estimators, at least 2.
    :return: :class:`Criterion`. `c` and `B` are None for `"direct_mc"`, which does not
        need them.
    :raises ValueError: for settings out of range, or an eigenspace of other parameters.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r} is none of {', '.join(ESTIMATORS)}.")
    sigma = check_positive("sigma", sigma)
    check_integer("num_samples", num_samples, least=2)
    problem = solution.first(k)
    key_space, key_samples, key_check = random.split(rng_key, 3)
    space, elapsed = timed(eigenspace_of, problem, eigenspace, key_space)
    given = isinstance(eigenspace, Eigenspace)
    seconds = {"eigenspace": 0.0 if given else elapsed}

    def perturbations(key, num):
        return sigma * random.normal(key, (num, space.dim), space.eigenvalues.dtype)

    zs = perturbations(key_samples, num_samples)
    if estimator == "direct_mc":
        values, seconds["evaluation"] = timed(
            increments_subspace, problem, space.eigenvectors, zs
        )
        value, error = _summary(jnp.square(values))
        here = float(increments(problem)[0])
        return Criterion(value, error, here, None, None, seconds, space)
    coefficients, seconds["compression"] = timed(compress, problem, space.eigenvectors)
    a, c, B = (np.asarray(x[0], np.float64) for x in coefficients)
    if estimator == "gaussian_moment":
        moment, seconds["evaluation"] = timed(gaussian_moment, a, c, B, sigma)
        value, error = float(moment), 0.0
    else:
        squares, seconds["evaluation"] = timed(_quadratic_squares, a, c, B, zs)
        value, error = _summary(squares)
    few = perturbations(key_check, CHECK_SAMPLES)
    off, seconds["check"] = timed(model_error, problem, space, (a, c, B), few)
    if not off <= QUADRATIC_TOL:
        warnings.warn(
            f"at sigma={sigma} the quadratic model of the increment is off by "
            f"{off:.1%} (root mean square over {CHECK_SAMPLES} samples), so "
            f"estimator={estimator!r} should not be trusted here. Lower sigma (see "
            "quadratic_validity) or use estimator='direct_mc'.",
            stacklevel=2,
        )
    return Criterion(value, error, float(a), c, B, seconds, space)
