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

from numpyro_pl.curvature import power_iteration, tree_dot
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

_SCALE_STEPS = 4


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


@partial(jax.jit, static_argnames="chunk_size")
def _spectral_scale(loss, params, data, order, k, key, chunk_size):
    def product(key, v):
        return mean_hvp(loss, params, data, order, k, v, chunk_size)

    return power_iteration(product, key, params, _SCALE_STEPS, 1)[0]


@partial(jax.jit, static_argnames="chunk_size")
def _rayleigh(loss, params, data, order, k, vectors, chunk_size):
    """Rayleigh quotients of `vectors` and the norms of their residuals."""

    def one(v):
        product = mean_hvp(loss, params, data, order, k, v, chunk_size)
        quotient = tree_dot(v, product)
        residual = jax.tree.map(lambda p, x: p - quotient * x, product, v)
        return quotient, jnp.sqrt(tree_dot(residual, residual))

    return jax.lax.map(one, vectors)


def _dense(product, n, dim, dtype):
    hessian = np.stack([product(row) for row in np.eye(n, dtype=dtype)])
    _, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return vectors[:, ::-1][:, :dim]


def _arpack(product, n, dim, dtype, key, scale, tol, basis_size, max_restarts):
    # ARPACK stops each pair at a residual of tol times its own eigenvalue, which
    # rounding puts out of reach where that is nearly zero. Adding the scale of the
    # spectrum to all of them leaves the vectors alone, and the rule is relative to it.
    operator = LinearOperator(
        (n, n), matvec=lambda v: product(v.ravel()) + scale * v.ravel(), dtype=dtype
    )
    start = np.asarray(random.normal(key, (n,)), dtype)
    for loosened in (tol, 0.1, 1.0):
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
            # residuals say below what was reached.
            continue
        return vectors[:, ::-1]
    raise RuntimeError(
        f"the eigensolver found no basis of dim={dim} in {max_restarts} restarts even "
        "at tol=1. Check the loss for NaN and infinity near params, or raise max_restarts "
        "and basis_size."
    )


def eigenspace_of(
    loss, params, data, order, k, *, dim, key, tol, chunk_size, basis_size, max_restarts
) -> Eigenspace:
    """:func:`top_eigenspace` after the checks, for the first k examples of `order`."""
    n = num_params(params)
    problem = loss, params, data, order, k
    dtype = np.float64 if ravel_pytree(params)[0].dtype == np.float64 else np.float32
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

    key_scale, key_start = random.split(key)
    if basis_size is None:
        basis_size = dim + 2
    if not dim + 1 < basis_size and n > DENSE_SIZE:
        raise ValueError(
            f"basis_size={basis_size} must be at least dim + 2 = {dim + 2}."
        )
    if n <= max(DENSE_SIZE, basis_size):
        vectors = _dense(product, n, dim, dtype)
    else:
        scale = float(_spectral_scale(*problem, key_scale, chunk_size=chunk_size))
        count += _SCALE_STEPS + 1
        vectors = _arpack(
            product, n, dim, dtype, key_start, scale, tol, basis_size, max_restarts
        )
    unravel = ravel_pytree(params)[1]
    flat_dtype = ravel_pytree(params)[0].dtype
    tree = jax.vmap(unravel)(jnp.asarray(vectors.T, flat_dtype))
    del vectors
    values, residuals = _rayleigh(*problem, tree, chunk_size=chunk_size)
    largest = jnp.max(jnp.abs(values))
    worst = float(jnp.max(residuals))
    if worst > tol * float(largest):
        warnings.warn(
            f"the top eigenspace has not converged to tol={tol}: residuals "
            f"{np.array2string(np.asarray(residuals), precision=2)} against a largest "
            f"eigenvalue of {float(largest):.3g}. Raise max_restarts or basis_size, or "
            "in single precision raise tol.",
            stacklevel=3,
        )
    order_of_values = jnp.argsort(-values)
    return Eigenspace(
        values[order_of_values],
        jax.tree.map(lambda v: v[order_of_values], tree),
        residuals[order_of_values],
        count + dim,
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
    :param int basis_size: Lanczos vectors between restarts, `dim + 2` by default, which
        takes the least memory. More (twice `dim`) take fewer products where the
        spectrum is dense.
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
