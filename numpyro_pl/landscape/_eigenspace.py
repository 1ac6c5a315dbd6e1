# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The top eigenspace of the Hessian of a mean loss.

The solver is ARPACK's implicitly restarted Lanczos method
(`scipy.sparse.linalg.eigsh`), which runs on the host and asks for Hessian-vector
products, computed by JAX. Restarts keep its basis at `basis_size` vectors, whatever
number of products convergence takes.
"""

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from numpyro_pl.landscape._loss import (
    CHUNK_SIZE,
    Loss,
    PyTree,
    as_pytree,
    check_count,
    check_positive,
    check_problem,
    mean_hvp,
    num_params,
)

DENSE_SIZE = 64
"""Up to this many parameters the whole Hessian costs less than iterating."""

_SCALE_PRODUCTS = 4


class Eigenspace(NamedTuple):
    """
    Leading eigenpairs of the Hessian of `L_k`.

    - **eigenvalues** - shape (dim,), the largest ones (algebraically), descending.
    - **eigenvectors** - orthonormal; a tree like the parameters, each array with a
      leading axis of length dim.
    - **residuals** - shape (dim,): norms of `H v - lambda v`, from products computed
      after the solver returned. An eigenvalue is off by at most its residual.
    - **num_products** - Hessian-vector products, with those for the residuals.
    """

    eigenvalues: jax.Array
    eigenvectors: PyTree
    residuals: jax.Array
    num_products: int


@partial(jax.jit, static_argnames="chunk_size")
def _flat_product(loss, params, data, order, k, v, chunk_size):
    flat, unravel = ravel_pytree(params)
    v = unravel(v.astype(flat.dtype))
    return ravel_pytree(mean_hvp(loss, params, data, order, k, v, chunk_size))[0]


def _dense(product, n, dim, dtype):
    hessian = np.stack([product(row) for row in np.eye(n, dtype=dtype)])
    _, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return vectors[:, ::-1][:, :dim]


def _arpack(product, n, dim, dtype, key, tol, basis_size, max_restarts):
    # Signs, because a byte each is all the memory that they take.
    start = np.asarray(random.rademacher(key, (n,), jnp.int8))
    v = start.astype(dtype)
    for _ in range(_SCALE_PRODUCTS):
        scale = float(np.linalg.norm(v))
        v = product(v / scale) if scale > 0 else v
    scale = float(np.linalg.norm(v))
    if scale == 0:
        raise ValueError(
            "the Hessian vanishes along random directions: the mean loss is linear in "
            "the parameters, so there is no top eigenspace."
        )
    del v
    # ARPACK stops each pair at a residual of tol times its own eigenvalue, which
    # rounding puts out of reach where that is nearly zero. Adding the scale of the
    # spectrum to all of them leaves the vectors alone, and the rule is relative to it.
    operator = LinearOperator(
        (n, n), matvec=lambda v: product(v.ravel()) + scale * v.ravel(), dtype=dtype
    )
    for loosened in (tol / 2, 0.1, 1.0):
        try:
            _, vectors = eigsh(
                operator,
                k=dim,
                which="LA",
                v0=start,
                ncv=basis_size,
                tol=loosened,
                maxiter=max_restarts,
            )
        except ArpackNoConvergence:
            # It keeps nothing of the pairs that did not converge, so ask for less; the
            # residuals say afterwards what was reached.
            continue
        return vectors[:, ::-1]
    raise RuntimeError(
        f"the eigensolver found no basis of dim={dim} in {max_restarts} restarts even "
        "at tol=1. Check the loss for NaN and infinity near params, or raise "
        "max_restarts and basis_size."
    )


def eigenspace_of(
    loss, params, data, order, k, *, dim, key, tol, chunk_size, basis_size, max_restarts
) -> Eigenspace:
    """:func:`top_eigenspace` after the checks, for the first k examples of `order`."""
    flat, unravel = ravel_pytree(params)
    n, flat_dtype = flat.size, flat.dtype
    del flat
    dtype = np.float64 if flat_dtype == np.float64 else np.float32
    problem = loss, params, data, order, k
    count = 0

    def product(v):
        nonlocal count
        count += 1
        result = np.asarray(_flat_product(*problem, v, chunk_size=chunk_size), dtype)
        if not np.isfinite(result).all():
            raise ValueError(
                "a Hessian-vector product of the loss is not finite. Check the loss "
                "for NaN and infinity at params, and for functions without a second "
                "derivative."
            )
        return result

    if basis_size is None:
        basis_size = min(dim + max(dim // 3, 2), n)
    elif not dim < basis_size <= n:
        raise ValueError(
            f"basis_size={basis_size} must be larger than dim={dim} and at most the "
            f"number of parameters, {n}."
        )
    if n <= max(DENSE_SIZE, basis_size):
        vectors = _dense(product, n, dim, dtype)
    else:
        vectors = _arpack(product, n, dim, dtype, key, tol, basis_size, max_restarts)
    values, residuals = np.empty(dim), np.empty(dim)
    for i, v in enumerate(vectors.T):
        hv = product(v)
        values[i] = v @ hv
        residuals[i] = np.linalg.norm(hv - values[i] * v)
    largest = np.abs(values).max()
    if residuals.max() > tol * largest:
        warnings.warn(
            f"the top eigenspace has not converged to tol={tol}: residuals "
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
        count,
    )


def check_eigenspace(eigenspace: Eigenspace, params: PyTree, dim: int | None) -> int:
    """
    Check that a given eigenspace belongs to `params`.

    :return: its dimension.
    :raises ValueError: where it does not, or has not `dim` vectors.
    """
    found = int(eigenspace.eigenvalues.shape[0])
    like = jax.tree.map(lambda x: (found, *jnp.shape(x)), params)
    have = jax.tree.map(jnp.shape, eigenspace.eigenvectors)
    if like != have or (dim is not None and dim != found):
        raise ValueError(
            f"the eigenspace given has {found} vectors of shapes {have}; dim={dim} and "
            "these params ask for another. Compute it by top_eigenspace at params of "
            "this structure, with the same dim, or leave dim out."
        )
    return found


def check_dim(dim: int | None, params: PyTree) -> int:
    """:raises ValueError: unless `dim` is from 1 to the number of parameters."""
    n = num_params(params)
    if dim is None:
        raise ValueError("give dim, the number of eigenvectors, or an eigenspace.")
    if not 1 <= dim <= n:
        raise ValueError(
            f"dim={dim} must be between 1 and the number of parameters, {n}."
        )
    return dim


def top_eigenspace(
    per_example_loss: Loss,
    params: PyTree,
    data: PyTree,
    k: int,
    *,
    dim: int,
    key: jax.Array,
    tol: float = 1e-4,
    chunk_size: int = CHUNK_SIZE,
    basis_size: int | None = None,
    max_restarts: int = 300,
) -> Eigenspace:
    """
    The `dim` largest eigenvalues of the Hessian of the mean loss over the first k
    examples, and their eigenvectors.

    Peak memory is about `basis_size + 2 dim + 6` times that of the parameters, plus
    the activations of one chunk of examples; it does not depend on k.

    :param per_example_loss: function of (params, data) that returns the loss of each
        example, shape (m,).
    :param params: tree of arrays, where the Hessian is taken.
    :param data: tree of arrays with m examples along the leading axis.
    :param int k: number of examples in the mean, `1 <= k <= m`.
    :param int dim: number of eigenpairs.
    :param key: a PRNG key for the starting vector.
    :param float tol: largest residual, relative to the largest eigenvalue. In single
        precision 1e-5 is about the smallest that can be reached.
    :param int chunk_size: examples evaluated at a time.
    :param int basis_size: Lanczos vectors between restarts, a third more than `dim`
        by default. More take fewer products where eigenvalues lie close together, and
        `dim + 2` take the least memory.
    :param int max_restarts: bound on the number of restarts.
    :return: :class:`Eigenspace`. A warning gives the residuals where they exceed `tol`.
    :raises ValueError: on arguments that do not fit each other, and where a product is
        not finite.
    """
    m = check_problem(per_example_loss, params, data)
    k = check_count(k, m, num_next=0)
    check_dim(dim, params)
    check_positive(tol=tol, chunk_size=chunk_size, max_restarts=max_restarts)
    return eigenspace_of(
        as_pytree(per_example_loss),
        params,
        data,
        jnp.arange(m),
        k,
        dim=dim,
        key=key,
        tol=tol,
        chunk_size=chunk_size,
        basis_size=basis_size,
        max_restarts=max_restarts,
    )
