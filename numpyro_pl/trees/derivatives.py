# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Derivatives along a direction, also of functions that only have a gradient.

A function with a derivative of its own (`jax.custom_vjp`), such as the solution of a
differential equation by `jax.experimental.ode` or diffrax or a fused attention kernel,
has no forward-mode derivatives, and often no second ones. In :func:`along` central
differences stand in for them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree

__all__ = ["along", "central_difference", "has_forward_mode", "hvp"]

REACH = 3e-3
"""Farthest that a coordinate is moved for a difference of gradients. In single
precision, where a potential changes over distances of about 1, rounding and the third
derivative then both matter less than 1 in 100."""


def has_forward_mode(fn: Callable[[Tree], Tree], x: Tree) -> bool:
    """
    Whether a function has forward-mode derivatives, not only a gradient. It is traced,
    not run.

    :param fn: a function.
    :param x: a tree of arrays that it takes, or of their shapes and types.
    :raises Exception: what the function raises if it has neither.
    """

    def twice(x):
        # Some functions without say so only when they are compiled. To be
        # differentiated along the direction too, they have to know it now.
        return jax.jvp(lambda v: jax.jvp(fn, (x,), (v,))[1], (x,), (x,))

    try:
        jax.eval_shape(twice, x)
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        jax.eval_shape(lambda x: jax.vjp(fn, x)[0], x)
        return False
    return True


def hvp(fn: Callable[[Tree], jax.Array], x: Tree, v: Tree) -> Tree:
    """
    Hessian-vector product, forward over reverse: about 2 to 3 gradients.

    :param fn: scalar function of a tree.
    :param x: where the Hessian is taken.
    :param v: the vector, a tree like `x`.
    :return: `H(x) v`, a tree like `x`.
    """
    return jax.jvp(jax.grad(fn), (x,), (v,))[1]


def along(
    fn: Callable[[Tree], Tree], x: Tree, v: Tree, forward: bool | None = None
) -> Tree:
    """
    Derivative of a function along a vector.

    :param fn: a function, such as a gradient.
    :param x: where the derivative is taken.
    :param v: the vector, a tree like `x`.
    :param forward: whether the function has forward-mode derivatives; None to find
        out.
    :return: a tree like `fn(x)`.
    """
    if forward is None:
        forward = has_forward_mode(fn, x)
    if forward:
        return jax.jvp(fn, (x,), (v,))[1]
    longest = jnp.max(jnp.stack([jnp.max(jnp.abs(a)) for a in jax.tree.leaves(v)]))
    width = 2 * REACH / jnp.where(longest > 0, longest, 1.0)
    step = jax.tree.map(lambda a: a * width.astype(a.dtype), v)
    change = central_difference(fn, x, step)
    return jax.tree.map(lambda a: a / width.astype(a.dtype), change)


def central_difference(fn: Callable[[Tree], Tree], x: Tree, step: Tree) -> Tree:
    """
    `fn(x + step / 2) - fn(x - step / 2)`.

    :param fn: a function.
    :param x: a tree.
    :param step: a tree like `x`.
    """

    def at(share):
        return fn(jax.tree.map(lambda a, s: a + share * s, x, step))

    return jax.tree.map(jnp.subtract, at(0.5), at(-0.5))
