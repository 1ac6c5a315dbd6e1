# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Pooling of measurements over the chains of a run. Vectorized chains share their scales,
because the noise and curvature that one chain sees are a small sample of what it will
meet.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.trees.arithmetic import Tree

__all__ = ["ManyChains", "OneChain"]


class OneChain:
    """A chain on its own."""

    def number(self) -> int:
        """Number of the chains."""
        return 1

    def mean(self, tree: Tree) -> Tree:
        """Mean over the chains."""
        return tree

    def largest(self, tree: Tree) -> Tree:
        """Largest value of the chains."""
        return tree

    def mean_and_sd(self, tree: Tree) -> Tree:
        """Mean over the chains, plus a standard deviation between them."""
        return tree


class ManyChains(OneChain):
    """
    Chains mapped over a named axis.

    :param str axis_name: the axis of :func:`jax.vmap`.
    """

    def __init__(self, axis_name: str):
        self.axis_name = axis_name

    def number(self) -> int:
        """Number of the chains."""
        return lax.axis_size(self.axis_name)

    def mean(self, tree: Tree) -> Tree:
        """Mean over the chains."""
        return self._reduced(jnp.mean, tree)

    def largest(self, tree: Tree) -> Tree:
        """Largest value of the chains."""
        return self._reduced(jnp.max, tree)

    def mean_and_sd(self, tree: Tree) -> Tree:
        """Mean over the chains, plus a standard deviation between them."""
        mean = self.mean(tree)
        square = self.mean(jax.tree.map(lambda x, m: jnp.square(x - m), tree, mean))
        return jax.tree.map(lambda m, s: m + jnp.sqrt(s), mean, square)

    def _reduced(self, reduction: Callable, tree: Tree) -> Tree:
        """
        Of all chains. Gathered, because JAX 0.11.2 cannot take a mapped `pmean` beside
        data on a mesh with explicit axes; the compiled programs are the same.
        """
        return jax.tree.map(
            lambda x: reduction(lax.all_gather(x, self.axis_name), axis=0), tree
        )
