# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Hessian tools on trees, shared by the kernels' warmup and the landscape criteria.

All work through Hessian-vector products, so that no function here ever holds a matrix.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import random
import jax.numpy as jnp

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
    return sum(
        jnp.vdot(a, b)
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    )


def _tree_random(draw: Callable, rng_key: jax.Array, like: Tree) -> Tree:
    leaves, treedef = jax.tree.flatten(like)
    keys = random.split(rng_key, max(len(leaves), 1))
    return jax.tree.unflatten(
        treedef, [draw(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=False)]
    )


def tree_normal(rng_key: jax.Array, like: Tree) -> Tree:
    """Independent standard normal values in the shape of `like`."""
    return _tree_random(random.normal, rng_key, like)


def tree_signs(rng_key: jax.Array, like: Tree) -> Tree:
    """Independent random signs in the shape of `like`."""
    return _tree_random(random.rademacher, rng_key, like)


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
    hvp_fn: Callable[[jax.Array, Tree], Tree],
    rng_key: jax.Array,
    like: Tree,
    num_probes: int,
) -> Tree:
    """
    Root-mean-square of `H r` over random sign vectors `r`: the norm of each row of the
    Hessian, never smaller than its diagonal entry in expectation, and positive. (The
    plain Hutchinson diagonal, the mean of `r * (H r)`, can be negative and comes near
    zero where rows are correlated.)

    :param hvp_fn: function of a key (which minibatch) and a vector.
    :param rng_key: a PRNG key.
    :param like: a tree in the shape of the position.
    :param int num_probes: number of probes.
    :return: a tree like `like`, in the units of the Hessian.
    """

    def body(total, key):
        key_probe, key_batch = random.split(key)
        probe = hvp_fn(key_batch, tree_signs(key_probe, like))
        total = jax.tree.map(lambda t, p: t + jnp.square(p), total, probe)
        return total, None

    start = jax.tree.map(jnp.zeros_like, like)
    total, _ = jax.lax.scan(body, start, random.split(rng_key, num_probes))
    return jax.tree.map(lambda t: jnp.sqrt(t / num_probes), total)


def power_iteration(
    matvec: Callable[[jax.Array, Tree], Tree],
    rng_key: jax.Array,
    like: Tree,
    num_steps: int,
    num_average: int,
) -> tuple[jax.Array, Tree]:
    """
    Largest eigenvalue, in absolute value, of a symmetric matrix seen through noisy
    products: `num_steps` power iterations, then the mean Rayleigh quotient over
    `num_average` further products, whose noise is independent of the vector.

    :param matvec: function of a key (which minibatch) and a vector.
    :param rng_key: a PRNG key.
    :param like: a tree in the shape of the vector.
    :return: (eigenvalue, unit eigenvector).
    """

    def normalize(v):
        norm = jnp.sqrt(tree_dot(v, v))
        scale = jnp.where(norm > 0, 1.0 / norm, 0.0)
        return jax.tree.map(lambda x: x * scale.astype(x.dtype), v)

    key_start, key_steps, key_average = random.split(rng_key, 3)
    v = normalize(tree_normal(key_start, like))

    def step(v, key):
        w = normalize(matvec(key, v))
        return w, None

    v, _ = jax.lax.scan(step, v, random.split(key_steps, num_steps))

    def quotient(total, key):
        return total + tree_dot(v, matvec(key, v)), None

    zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(like)))
    total, _ = jax.lax.scan(quotient, zero, random.split(key_average, num_average))
    return jnp.abs(total) / num_average, v
