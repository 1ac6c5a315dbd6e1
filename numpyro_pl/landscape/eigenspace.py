# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The top eigenspace of the Hessian of a mean loss.

The solver is ARPACK's implicitly restarted Lanczos method
(`scipy.sparse.linalg.eigsh`). It runs on the host and asks for Hessian-vector products,
which JAX computes. Restarts keep its basis at `basis_size` vectors, however many
products convergence takes.
"""

import warnings
from numbers import Integral
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from numpyro_pl.landscape.loss import Problem, mean_hvp
from numpyro_pl.landscape.solution import Solution
from numpyro_pl.trees.arithmetic import Tree, size_of
from numpyro_pl.trees.checks import check_integer, check_positive

__all__ = ["Eigenspace", "check_eigenspace", "eigenspace_of", "top_eigenspace"]

DENSE_SIZE = 64
"""Up to this many parameters the whole Hessian costs less than iterating."""

SCALE_PRODUCTS = 4
"""Products from which the scale of the spectrum is estimated."""

TOL = 1e-4
"""Largest residual of an eigenpair, relative to the largest eigenvalue."""


class Eigenspace(NamedTuple):
    """
    Leading eigenpairs of the Hessian of `L_k`.

    - **eigenvalues** - shape (dim,), the largest ones (algebraically), descending.
    - **eigenvectors** - orthonormal; a tree like the parameters, each array with a
      leading axis of length dim.
    - **residuals** - shape (dim,): norms of `H v - lambda v`, from products computed
      after the solver returned. An eigenvalue is off by at most its residual.
    - **num_products** - number of Hessian-vector products, including those for the
      residuals.
    """

    eigenvalues: jax.Array
    eigenvectors: Tree
    residuals: jax.Array
    num_products: int

    @property
    def dim(self) -> int:
        """Number of eigenpairs."""
        return int(self.eigenvalues.shape[0])


class _Solver(NamedTuple):
    """Settings of the eigensolver, see :func:`top_eigenspace`."""

    dim: int
    tol: float = TOL
    basis_size: int | None = None
    max_restarts: int = 300

    def with_basis(self, n: int) -> "_Solver":
        """With a number for `basis_size`, checked against `n` parameters."""
        dim, basis_size = self.dim, self.basis_size
        if basis_size is None:
            return self._replace(basis_size=min(dim + max(dim // 3, 2), n))
        if not dim < basis_size <= n:
            raise ValueError(
                f"basis_size={basis_size} must be larger than dim={dim} and at most "
                f"the number of parameters, {n}."
            )
        return self


class _Product:
    """Hessian-vector products of flat NumPy vectors, checked and counted."""

    def __init__(self, problem: Problem, dtype):
        self.problem = problem
        self.dtype = dtype
        self.count = 0

    def __call__(self, v):
        self.count += 1
        result = np.asarray(_flat_product(self.problem, v), self.dtype)
        if not np.isfinite(result).all():
            raise ValueError(
                "a Hessian-vector product of the loss is not finite. Check the loss "
                "for NaN and infinity at params, and for functions without a second "
                "derivative."
            )
        return result


@jax.jit
def _flat_product(problem: Problem, v: jax.Array) -> jax.Array:
    flat, unravel = ravel_pytree(problem.params)
    return ravel_pytree(mean_hvp(problem, unravel(v.astype(flat.dtype))))[0]


def _dense(product, n, dim):
    """Top eigenvectors as columns, from the whole Hessian."""
    hessian = np.stack([product(row) for row in np.eye(n, dtype=product.dtype)])
    _, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return vectors[:, ::-1][:, :dim]


def _spectrum_scale(product, start) -> float:
    """Estimate of the largest eigenvalue in absolute value, by a few power steps."""
    v = start.astype(product.dtype)
    for _ in range(SCALE_PRODUCTS):
        scale = float(np.linalg.norm(v))
        v = product(v / scale) if scale > 0 else v
    scale = float(np.linalg.norm(v))
    if scale == 0:
        raise ValueError(
            "the Hessian vanishes along random directions: the mean loss is linear in "
            "the parameters, so there is no top eigenspace."
        )
    return scale


def _arpack(product, n, solver: _Solver, rng_key):
    """Top eigenvectors as columns, by restarted Lanczos."""
    # Signs, because they take a byte each.
    start = np.asarray(random.rademacher(rng_key, (n,), jnp.int8))
    scale = _spectrum_scale(product, start)
    # ARPACK stops each pair at a residual of tol times its own eigenvalue, which
    # rounding makes impossible if that eigenvalue is nearly zero. Adding the scale of
    # the spectrum leaves the vectors alone and makes the rule relative to that scale.
    operator = LinearOperator(
        (n, n),
        matvec=lambda v: product(v.ravel()) + scale * v.ravel(),
        dtype=product.dtype,
    )
    for loosened in (solver.tol / 2, 0.1, 1.0):
        try:
            _, vectors = eigsh(
                operator,
                k=solver.dim,
                which="LA",
                v0=start,
                ncv=solver.basis_size,
                tol=loosened,
                maxiter=solver.max_restarts,
            )
        except ArpackNoConvergence:
            # It drops the pairs that did not converge, so ask for less; the residuals
            # show afterwards what was reached.
            continue
        return vectors[:, ::-1]
    raise RuntimeError(
        f"the eigensolver found no basis of dim={solver.dim} in {solver.max_restarts} "
        "restarts even at tol=1. Check the loss for NaN and infinity near params, or "
        "raise max_restarts and basis_size."
    )


def _solve(problem: Problem, rng_key: jax.Array, solver: _Solver) -> Eigenspace:
    flat, unravel = ravel_pytree(problem.params)
    n, flat_dtype = flat.size, flat.dtype
    del flat
    solver = solver.with_basis(n)
    product = _Product(problem, np.float64 if flat_dtype == np.float64 else np.float32)
    if n <= max(DENSE_SIZE, solver.basis_size or 0):
        vectors = _dense(product, n, solver.dim)
    else:
        vectors = _arpack(product, n, solver, rng_key)
    values, residuals = np.empty(solver.dim), np.empty(solver.dim)
    for i, v in enumerate(vectors.T):
        hv = product(v)
        values[i] = v @ hv
        residuals[i] = np.linalg.norm(hv - values[i] * v)
    largest = np.abs(values).max()
    if residuals.max() > solver.tol * largest:
        warnings.warn(
            f"the top eigenspace has not converged to tol={solver.tol}: residuals "
            f"{np.array2string(residuals, precision=2)} against a largest eigenvalue "
            f"of {largest:.3g}. Raise max_restarts or basis_size, or in single "
            "precision raise tol.",
            stacklevel=3,
        )
    descending = np.argsort(-values)
    return Eigenspace(
        jnp.asarray(values[descending], flat_dtype),
        jax.vmap(unravel)(jnp.asarray(vectors.T[descending], flat_dtype)),
        jnp.asarray(residuals[descending], flat_dtype),
        product.count,
    )


def check_eigenspace(eigenspace: Eigenspace | int, params: Tree) -> int:
    """
    Check that an eigenspace, given or still to be computed, fits `params`.

    :param eigenspace: an :class:`Eigenspace`, or the dimension D of one.
    :param params: tree of arrays.
    :return: its dimension.
    :raises ValueError: if its vectors have other shapes than `params`, or D is not
        from 1 to the number of parameters.
    """
    if isinstance(eigenspace, Eigenspace):
        dim = eigenspace.dim
        like = jax.tree.map(lambda x: (dim, *jnp.shape(x)), params)
        have = jax.tree.map(jnp.shape, eigenspace.eigenvectors)
        if like != have:
            raise ValueError(
                f"the eigenspace has vectors of shapes {have}; these params ask for "
                f"{like}. Compute it by top_eigenspace at params of this structure."
            )
        return dim
    if not isinstance(eigenspace, Integral) or isinstance(eigenspace, bool):
        raise ValueError(
            "eigenspace must be an Eigenspace or the number of eigenvectors to "
            f"compute, got {eigenspace!r}."
        )
    n = size_of(params)
    if not 1 <= eigenspace <= n:
        raise ValueError(
            f"the dimension of the eigenspace, {eigenspace}, must be between 1 and the "
            f"number of parameters, {n}."
        )
    return int(eigenspace)


def eigenspace_of(
    problem: Problem,
    eigenspace: Eigenspace | int,
    rng_key: jax.Array,
    tol: float = TOL,
) -> Eigenspace:
    """
    The given eigenspace, or the one of the Hessian of this mean loss.

    :param eigenspace: an :class:`Eigenspace`, which is returned, or a dimension.
    :param rng_key: a PRNG key.
    :param float tol: see :func:`top_eigenspace`.
    :raises ValueError: if it does not fit the parameters.
    """
    dim = check_eigenspace(eigenspace, problem.params)
    if isinstance(eigenspace, Eigenspace):
        return eigenspace
    return _solve(problem, rng_key, _Solver(dim, tol))


def top_eigenspace(
    solution: Solution,
    k: int,
    *,
    dim: int,
    rng_key: jax.Array,
    tol: float = TOL,
    basis_size: int | None = None,
    max_restarts: int = 300,
) -> Eigenspace:
    """
    The `dim` largest eigenvalues of the Hessian of the mean loss over the first k
    examples, and their eigenvectors.

    Peak memory is about `basis_size + 2 dim + 6` times that of the parameters, plus
    the activations of one chunk of examples; it does not depend on k.

    :param Solution solution: where the Hessian is taken.
    :param int k: number of examples in the mean, `1 <= k <= m`.
    :param int dim: number of eigenpairs.
    :param rng_key: a PRNG key for the starting vector.
    :param float tol: largest residual, relative to the largest eigenvalue. In single
        precision 1e-5 is about the smallest that can be reached.
    :param int basis_size: Lanczos vectors between restarts, a third more than `dim` by
        default. A larger basis takes fewer products if eigenvalues lie close together;
        `dim + 2` takes the least memory.
    :param int max_restarts: bound on the number of restarts.
    :return: :class:`Eigenspace`. A warning gives the residuals if they exceed `tol`.
    :raises ValueError: if arguments do not fit each other, or a product is not finite.
    """
    problem = solution.first(k, num_next=0)
    solver = _Solver(
        check_eigenspace(check_integer("dim", dim), solution.params),
        check_positive("tol", tol),
        basis_size,
        check_integer("max_restarts", max_restarts),
    )
    return _solve(problem, rng_key, solver)
