# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Orders of computation that XLA does not find by itself, so that large models need few
arrays. None of them changes a value.

For a network of a million parameters they reduce the memory of a draw from 16 times the
parameters to 7.4 times, adaptation included (`tests/benchmarks/bench_step.py` prints
it).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.trees.arithmetic import Tree

__all__ = ["computed_after", "not_hoisted", "updated_if"]


def computed_after(tree: Tree, earlier: Tree) -> Tree:
    """
    The values of `tree`, computed after those of `earlier`.

    An array that is read and then overwritten within a step needs no copy if the
    compiler can see that it is read first. In a loop, this also keeps values that
    depend on `tree` alone from being computed and held ahead of the loop. A matrix
    product that reads the result needs a copy of it: use :func:`not_hoisted` there.

    :param tree: arrays of numbers.
    :param earlier: arrays of floating-point numbers.
    """
    firsts = [jnp.sum(x.reshape(-1)[:1]) for x in jax.tree.leaves(earlier)]
    first = jnp.sum(jnp.stack(firsts))
    # A zero that the compiler cannot simplify away, because zero times a number might
    # be NaN. Here it never is: an infinite or undefined value of `earlier` must not
    # spread to the rows and positions that are computed after it.
    zero = jnp.where(jnp.isfinite(first), 0.0 * first, 0.0)
    return jax.tree.map(lambda x: x + zero.astype(x.dtype), tree)


def not_hoisted(tree: Tree, carry: Tree) -> Tree:
    """
    The values of `tree`, constant in a loop, as if they varied with its carry.

    If the position is constant, XLA computes the gradient of the prior ahead of the
    loop and holds it, one or two arrays of the size of the parameters, to save one
    product per pass. This prevents it. It does not fix what is computed first.
    """
    return lax.optimization_barrier((tree, carry))[0]


def updated_if(
    condition: jax.Array, change: Callable[[Tree], Tree], tree: Tree
) -> Tree:
    """
    `change(tree)` where the condition holds, else the tree.

    A loop of one pass or none overwrites the tree in place; the branches of `lax.cond`
    would write a second one. XLA may move what depends on unchanged parts of the tree
    alone before the loop, and then computes it even if the condition does not hold:
    where that is costly, tie it by :func:`not_hoisted` to a part that changes.
    """
    return lax.fori_loop(0, condition.astype(int), lambda i, tree: change(tree), tree)
