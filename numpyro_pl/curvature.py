# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Hessian tools on trees, shared by the kernels' warmup and the landscape criteria.

All work through Hessian-vector products, so that no function here ever holds a matrix.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl._memory import after
from numpyro_pl.dynamics.noise import tree_normal, tree_signs

__all__ = [
    "hessian_row_norms",
    "hvp",
    "power_iteration",
    "tree_dot",
    "tree_normal",
    "tree_signs",
]

Tree = Any


def tree_dot(x: Tree, y: Tree) -> jax.Array:
    """Inner product of two trees of the same structure, a scalar."""
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return jnp.asarray(sum(jnp.vdot(a, b) for a, b in pairs))


def hvp(fn: Callable[[Tree], jax.Array], x: Tree, v: Tree) -> Tree:
    """
    Hessian-vector product, forward over reverse: about 2 to 3 gradients.

    :param fn: scalar function of a tree.
    :param x: where the Hessian is taken.
    :param v: the vector, a tree like `x`.
    :return: `H(x) v`, a tree like `x`.
    """
    return jax.jvp(jax.grad(fn), (x,), (v,))[1]


def hessian_row_norms(
    product: Callable[[Any, Tree], Tree],
    rng_key: jax.Array,
    like: Tree,
    num_probes: int,
) -> Tree:
    """
    Root-mean-square of `H r` over random sign vectors `r`: the norm of each row of the
    Hessian, never smaller than its diagonal entry in expectation, and positive. (The
    plain Hutchinson diagonal, the mean of `r * (H r)`, can be negative and comes near
    zero where rows are correlated.)

    :param product: function of a number (0, 1, ...: which minibatch) and a vector:
        `H v`.
    :param rng_key: a PRNG key.
    :param like: a tree in the shape of the position.
    :param int num_probes: number of probes.
    :return: a tree like `like`, in the units of the Hessian.
    """

    def probe(t, total):
        row = product(t, tree_signs(rng_key, like, stream=t))
        return jax.tree.map(lambda s, r: s + jnp.square(r), total, row)

    start = jax.tree.map(jnp.zeros_like, like)
    total = jax.lax.fori_loop(0, num_probes, probe, start)
    return jax.tree.map(lambda t: jnp.sqrt(t / num_probes), total)


def power_iteration(
    product: Callable[[Any, Tree], Tree],
    rng_key: jax.Array,
    like: Tree,
    num_steps: int,
    num_average: int,
) -> tuple[jax.Array, Tree]:
    """
    Largest eigenvalue, in absolute value, of a symmetric matrix seen through noisy
    products: `num_steps` power iterations, then the mean Rayleigh quotient over
    `num_average` further ones. The noise of each product is independent of its vector.

    :param product: function of a number (0, 1, ...: which minibatch) and a vector.
    :param rng_key: a PRNG key.
    :param like: a tree in the shape of the vector.
    :return: (eigenvalue, unit eigenvector).
    """

    def normalize(v):
        norm = jnp.sqrt(tree_dot(v, v))
        scale = jnp.where(norm > 0, 1.0 / norm, 0.0)
        return jax.tree.map(lambda x: x * scale.astype(x.dtype), v)

    # One loop for both phases, so that the product is compiled once; and one vector,
    # which goes on turning while quotients are averaged.
    def step(t, carry):
        v, total = carry
        w = product(t, v)
        quotient = tree_dot(v, w)
        total += jnp.where(t >= num_steps, quotient, 0.0)
        return normalize(after(w, quotient)), total

    start = normalize(tree_signs(rng_key, like))
    zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(like)))
    v, total = jax.lax.fori_loop(0, num_steps + num_average, step, (start, zero))
    return jnp.abs(total) / num_average, v
