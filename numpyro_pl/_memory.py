# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Orders of computation that XLA cannot find itself, so that large models need few arrays.

None of these changes a value. Together they bring a draw of a network of a million
parameters from 16 times the parameters to 7.4, adaptation included
(`tests/benchmarks/bench_step.py` prints it).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["after", "varying", "when"]

Tree = Any


def after(tree: Tree, earlier: Tree) -> Tree:
    """
    The values of `tree`, in an order: XLA computes them after `earlier`.

    What is read and then overwritten within a step needs no copy where the compiler can
    see that it is read first. In loops it keeps what is computed from `tree` alone from
    being computed, and kept, ahead of the loop. A matrix product that reads the result
    needs a copy of it: there :func:`varying` serves.
    """
    firsts = [jnp.sum(x.reshape(-1)[:1]) for x in jax.tree.leaves(earlier)]
    corner = jnp.sum(jnp.stack(firsts))
    # Not simplified away, because zero times infinity is NaN: non-finite values spread,
    # and whoever meets them has diverged anyway.
    return jax.tree.map(lambda x: x + (0.0 * corner).astype(x.dtype), tree)


def varying(tree: Tree, carry: Tree) -> Tree:
    """
    The values of `tree`, constant in a loop, as if they varied with its carry.

    From a constant position XLA computes the gradient of the prior ahead of the loop
    and keeps it, one or two arrays of the size of the parameters, to save a product a
    pass. This forbids it, and orders nothing.
    """
    return lax.optimization_barrier((tree, carry))[0]


def when(condition, change: Callable[[Tree], Tree], tree: Tree) -> Tree:
    """
    `change(tree)` where the condition holds, else the tree.

    A loop of one pass or none: it overwrites the tree in place, while the branches of
    `lax.cond` write a second one.
    """
    return lax.fori_loop(0, condition.astype(int), lambda _, t: change(t), tree)
