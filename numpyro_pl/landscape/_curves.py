# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The criteria over a range of k, with the exponents of their decay."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from scipy.stats import t as student_t

from numpyro_pl.curvature import tree_normal
from numpyro_pl.landscape._criteria import check_num_samples, gaussian_moment
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
    compress_each,
    take,
)


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
      (num_orderings, K, num_next), with axes (D,) and (D, D) behind. They give the
      closed form at any sigma and any smaller D, see :func:`gaussian_moment`.
    - **sigma** - as asked for.
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


@partial(jax.jit, static_argnames="chunk_size")
def _all_losses(loss, params, data, keys, sigma, chunk_size):
    """Loss of each example at `params + sigma xi`, for each key: (len(keys), m)."""
    m = jax.tree.leaves(data)[0].shape[0]
    chunk_size = min(chunk_size, m)
    starts = jnp.arange(-(-m // chunk_size)) * chunk_size

    def one(key):
        xi = tree_normal(key, params)
        moved = jax.tree.map(lambda x, e: x + (sigma * e).astype(x.dtype), params, xi)

        def chunk(start):
            rows = jnp.minimum(start + jnp.arange(chunk_size), m - 1)
            return loss(moved, take(data, rows))

        return jax.lax.map(chunk, starts).reshape(-1)[:m]

    return jax.lax.map(one, keys)


def _increments_along(values, ordering, ks, num_next):
    """
    Increments along one ordering of per-example values (losses or their derivatives).

    :param values: examples along the leading axis: shape (m, ...).
    :return: shape (K, num_next, ...).
    """
    values = np.asarray(values, np.float64)[ordering]
    starts = np.concatenate([[0], ks[:-1]])
    sums = np.cumsum(np.add.reduceat(values[: ks[-1]], starts), axis=0)
    k = ks.reshape(-1, *[1] * (values.ndim - 1))
    added = values[ks[:, None] + np.arange(num_next)]
    return (added - (sums / k)[:, None]) / (k[:, None] + 1)


def stabilization_curve(
    per_example_loss: Loss,
    params: PyTree,
    data: PyTree,
    ks: Sequence[int],
    *,
    dim: int | None = None,
    sigma: float,
    num_samples: int = 32,
    num_orderings: int = 8,
    num_next: int = 8,
    key: jax.Array,
    eigenspace: Eigenspace | None = None,
    tol: float = 1e-3,
    chunk_size: int = CHUNK_SIZE,
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

    :param per_example_loss: as for :func:`delta1`.
    :param params: tree of arrays, the solution.
    :param data: tree of arrays with m examples along the leading axis.
    :param ks: increasing numbers of examples, the last at most `m - num_next`.
    :param int dim: dimension of the subspace; may be left out with `eigenspace`.
    :param float sigma: standard deviation of the perturbation.
    :param int num_samples: perturbations for `Delta_2`, the same for all orderings.
    :param int num_orderings: orderings of the data, at least 2.
    :param int num_next: candidates for the next example at each k.
    :param key: a PRNG key.
    :param Eigenspace eigenspace: one for all k, from :func:`top_eigenspace`. An
        approximation, exact only in the limit of large k, that saves most of the time.
    :param float tol: for the eigenspaces.
    :param int chunk_size: examples evaluated at a time.
    :return: :class:`StabilizationCurve`.
    """
    m = check_problem(per_example_loss, params, data)
    counts = np.asarray([check_count(k, m, num_next) for k in ks])
    if len(counts) < 2 or (np.diff(counts) <= 0).any():
        raise ValueError(f"ks={list(ks)} must hold at least two k, increasing.")
    if num_orderings < 2:
        raise ValueError(
            f"num_orderings={num_orderings} must be at least 2: the interval of the "
            "slope is their spread."
        )
    check_positive(sigma=sigma, num_next=num_next, tol=tol, chunk_size=chunk_size)
    check_num_samples(num_samples)
    if eigenspace is None:
        dim = check_dim(dim, params)
    else:
        dim = check_eigenspace(eigenspace, params, dim)
    loss = as_pytree(per_example_loss)
    key_order, key_space, key_samples = random.split(key, 3)
    orders = [random.permutation(k, m) for k in random.split(key_order, num_orderings)]
    here = _all_losses(loss, params, data, key_samples[None], 0.0, chunk_size)
    keys = random.split(key_samples, num_samples)
    moved = _all_losses(loss, params, data, keys, sigma, chunk_size)
    if eigenspace is not None:
        # One pass serves all k and orderings: the mean of the derivatives is linear.
        each = compress_each(
            loss, params, data, jnp.arange(m), eigenspace.eigenvectors, chunk_size
        )
    rows: dict[str, list] = {"delta1": [], "delta2": [], "a": [], "c": [], "B": []}
    for order in orders:
        along = np.asarray(order), counts, num_next
        rows["delta1"].append(np.abs(_increments_along(here.T, *along)).mean((1, 2)))
        squares = np.square(_increments_along(moved.T, *along))
        rows["delta2"].append(squares.mean((1, 2)))
        if eigenspace is not None:
            coefficients = [_increments_along(x, *along) for x in each]
        else:
            at_each_k = []
            for k in counts.tolist():
                space = eigenspace_of(
                    loss,
                    params,
                    data,
                    order,
                    k,
                    dim=dim,
                    key=key_space,
                    tol=tol,
                    chunk_size=chunk_size,
                    basis_size=None,
                    max_restarts=300,
                )
                vectors = space.eigenvectors
                at_each_k.append(
                    compress(
                        loss, params, data, order, k, vectors, num_next, chunk_size
                    )
                )
            coefficients = [np.stack(x) for x in zip(*at_each_k, strict=True)]
        for name, x in zip("acB", coefficients, strict=True):
            rows[name].append(x)
    values = {name: np.asarray(v, np.float64) for name, v in rows.items()}
    a, c, B = (values.pop(name) for name in "acB")
    values["delta2_subspace"] = gaussian_moment(a, c, B, sigma).mean(-1)
    slopes = {name: _fit_slope(counts, v) for name, v in values.items()}
    return StabilizationCurve(
        counts, **values, slopes=slopes, a=a, c=c, B=B, sigma=sigma
    )
