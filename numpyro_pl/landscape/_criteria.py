# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""How much one more example changes the loss near a solution, at one k."""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.landscape._eigenspace import (
    Eigenspace,
    check_dim,
    check_eigenspace,
    eigenspace_of,
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
    increments,
    increments_full,
    increments_subspace,
    timed,
)

ESTIMATORS = ("gaussian_moment", "quadratic_mc", "direct_mc")

QUADRATIC_TOLERANCE = 0.05
"""Relative error up to which the quadratic model of the increment is trusted."""


class Criterion(NamedTuple):
    """
    A stabilization criterion and what it was computed from.

    - **value** - in squared units of the loss, or in its units for `delta1`.
    - **standard_error** - of the Monte Carlo average; 0 where there is none.
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


def quadratic_increment(a, c, B, zs):
    """The quadratic model at each row of `zs`: shape (len(zs),)."""
    return a + zs @ c + 0.5 * jnp.einsum("si,ij,sj->s", zs, B, zs)


@jax.jit
def _quadratic_moments(a, c, B, zs):
    return jnp.square(quadratic_increment(a, c, B, zs))


def relative_rms(error, reference) -> float:
    """Root-mean-square of `error` relative to that of `reference`."""
    error, reference = (np.asarray(x, np.float64) for x in (error, reference))
    return float(np.sqrt(np.mean(error**2) / max(np.mean(reference**2), 1e-300)))


def summary(squares) -> tuple[float, float]:
    """Mean and its standard error."""
    squares = np.asarray(squares, np.float64)
    return float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(len(squares)))


def check_num_samples(num_samples: int) -> None:
    """:raises ValueError: where a standard error could not be computed."""
    if num_samples < 2:
        raise ValueError(f"num_samples={num_samples} must be at least 2.")


def _prepare(per_example_loss, params, data, k) -> tuple[Any, ...]:
    m = check_problem(per_example_loss, params, data)
    k = check_count(k, m)
    return as_pytree(per_example_loss), params, data, jnp.arange(m), k


def delta1(
    per_example_loss: Loss,
    params: PyTree,
    data: PyTree,
    k: int,
    *,
    chunk_size: int = CHUNK_SIZE,
) -> Criterion:
    """
    `Delta_1 = |L_{k+1}(w) - L_k(w)|`, the change at the solution itself
    (arXiv:2604.14870).

    :param per_example_loss: function of (params, data) that returns the loss of each
        example, shape (m,).
    :param params: tree of arrays, the solution w.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: examples in the mean, `1 <= k < m`; example k is the one added.
    :param int chunk_size: examples evaluated at a time.
    :return: :class:`Criterion`.
    """
    check_positive(chunk_size=chunk_size)
    problem = _prepare(per_example_loss, params, data, k)
    (a,), seconds = timed(increments, *problem, num_next=1, chunk_size=chunk_size)
    return Criterion(
        abs(float(a)), 0.0, float(a), None, None, {"evaluation": seconds}, None
    )


def delta2(
    per_example_loss: Loss,
    params: PyTree,
    data: PyTree,
    k: int,
    *,
    sigma: float,
    num_samples: int = 256,
    key: jax.Array,
    chunk_size: int = CHUNK_SIZE,
) -> Criterion:
    """
    `Delta_2 = E[(L_{k+1} - L_k)(w + sigma xi)^2]`, xi standard normal in all n
    dimensions, by Monte Carlo (arXiv:2604.14870). Each sample is a pass over k
    examples.

    :param per_example_loss: as for :func:`delta1`.
    :param params: tree of arrays, the solution w.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: examples in the mean; example k is the one added.
    :param float sigma: standard deviation of each parameter's perturbation.
    :param int num_samples: number of perturbations.
    :param key: a PRNG key.
    :param int chunk_size: examples evaluated at a time.
    :return: :class:`Criterion`.
    """
    check_positive(sigma=sigma, chunk_size=chunk_size)
    check_num_samples(num_samples)
    problem = _prepare(per_example_loss, params, data, k)
    values, seconds = timed(
        increments_full,
        *problem,
        random.split(key, num_samples),
        sigma,
        chunk_size=chunk_size,
    )
    value, error = summary(jnp.square(values))
    a = float(increments(*problem, num_next=1, chunk_size=chunk_size)[0])
    return Criterion(value, error, a, None, None, {"evaluation": seconds}, None)


def delta2_subspace(
    per_example_loss: Loss,
    params: PyTree,
    data: PyTree,
    k: int,
    *,
    dim: int | None = None,
    sigma: float,
    estimator: str = "gaussian_moment",
    num_samples: int = 256,
    key: jax.Array,
    eigenspace: Eigenspace | None = None,
    check_samples: int = 4,
    tol: float = 1e-4,
    chunk_size: int = CHUNK_SIZE,
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
    `check`) and warn where it is off by more than 5 %: see :func:`quadratic_validity`.

    :param per_example_loss: as for :func:`delta1`.
    :param params: tree of arrays, the solution w.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: examples in the mean; example k is the one added.
    :param int dim: dimension D of the subspace; may be left out with `eigenspace`.
    :param float sigma: standard deviation along each eigenvector.
    :param str estimator: see above.
    :param int num_samples: number of z, for the Monte Carlo estimators.
    :param key: a PRNG key.
    :param Eigenspace eigenspace: from :func:`top_eigenspace` or from an earlier result,
        to save the longest stage; computed here if None.
    :param int check_samples: number of z in the check; 0 leaves it out.
    :param float tol: for :func:`top_eigenspace`.
    :param int chunk_size: examples evaluated at a time.
    :return: :class:`Criterion`. `c` and `B` are None for `"direct_mc"`, which has no
        use for them.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r} is none of {', '.join(ESTIMATORS)}.")
    check_positive(sigma=sigma, tol=tol, chunk_size=chunk_size)
    check_num_samples(num_samples)
    problem = _prepare(per_example_loss, params, data, k)
    key_space, key_samples, key_check = random.split(key, 3)
    seconds = {"eigenspace": 0.0}
    if eigenspace is None:
        eigenspace, seconds["eigenspace"] = timed(
            eigenspace_of,
            *problem,
            dim=check_dim(dim, params),
            key=key_space,
            tol=tol,
            chunk_size=chunk_size,
            basis_size=None,
            max_restarts=300,
        )
    dim = check_eigenspace(eigenspace, params, dim)
    vectors = eigenspace.eigenvectors
    dtype = eigenspace.eigenvalues.dtype

    def truth(zs):
        return increments_subspace(*problem, vectors, zs, chunk_size=chunk_size)

    if estimator == "direct_mc":
        zs = sigma * random.normal(key_samples, (num_samples, dim), dtype)
        values, seconds["evaluation"] = timed(truth, zs)
        value, error = summary(jnp.square(values))
        here = float(increments(*problem, num_next=1, chunk_size=chunk_size)[0])
        return Criterion(value, error, here, None, None, seconds, eigenspace)

    coefficients, seconds["compression"] = timed(
        compress, *problem, vectors, num_next=1, chunk_size=chunk_size
    )
    a, c, B = (np.asarray(x[0], np.float64) for x in coefficients)
    error = 0.0
    if estimator == "gaussian_moment":
        moment, seconds["evaluation"] = timed(gaussian_moment, a, c, B, sigma)
        value = float(moment)
    else:
        zs = sigma * random.normal(key_samples, (num_samples, dim), dtype)
        squares, seconds["evaluation"] = timed(_quadratic_moments, a, c, B, zs)
        value, error = summary(squares)
    if check_samples:
        zs = sigma * random.normal(key_check, (check_samples, dim), dtype)
        exact, seconds["check"] = timed(truth, zs)
        off = relative_rms(exact - quadratic_increment(a, c, B, zs), exact)
        if not off <= QUADRATIC_TOLERANCE:
            warnings.warn(
                f"at sigma={sigma} the quadratic model of the increment is off by "
                f"{off:.1%} (root mean square over {check_samples} samples), so "
                f"estimator={estimator!r} should not be trusted here. Lower sigma (see "
                "quadratic_validity) or use estimator='direct_mc'.",
                stacklevel=2,
            )
    return Criterion(value, error, float(a), c, B, seconds, eigenspace)
