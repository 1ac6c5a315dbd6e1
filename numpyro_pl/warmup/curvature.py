# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Curvature of a potential, from Hessian-vector products alone: no function here ever
holds a matrix.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.trees.arithmetic import Tree, spread, sum_of, tree_dot
from numpyro_pl.trees.derivatives import along
from numpyro_pl.trees.increments import sign_probes, tree_signs
from numpyro_pl.trees.ordering import computed_after, not_hoisted

__all__ = ["HessianProducts", "hessian_row_norms", "in_steps", "power_iteration"]


class HessianProducts(NamedTuple):
    """Hessian-vector products at a position, each on a minibatch of its own."""

    gradient: MinibatchGradient
    position: Tree
    batches: Tree

    @classmethod
    def fresh(cls, rng_key, gradient, position, num: int) -> "HessianProducts":
        """Products on `num` new minibatches."""
        return cls(gradient, position, gradient.draw_batches(rng_key, num))

    def product(self, t, vector: Tree) -> Tree:
        """The Hessian on the t-th minibatch times a vector."""
        batch = self.gradient.batch_at(self.batches, t)
        here = not_hoisted(self.position, t)

        def grad(x):
            return self.gradient.grad(x, batch)

        return along(grad, here, vector, self.gradient.forward)


def in_steps(dynamics: Partition, scales: Tree, vector: Tree) -> Tree:
    """
    A vector times the root of `h^2 / M`, in units of the largest frequency allowed: on
    both sides of the Hessian, this makes squared frequencies of its eigenvalues.

    :param Partition dynamics: the dynamics.
    :param scales: their scales.
    :param vector: a tree like the position.
    """
    factors = dynamics.squared_frequency(scales)
    factors = tuple(spread(f, v) for f, v in zip(factors, vector, strict=True))
    return jax.tree.map(lambda f, v: jnp.sqrt(f) * v, factors, vector)


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

    :param product: function of a minibatch number (0, 1, ...) and a vector `v` that
        returns `H v`.
    :param rng_key: a PRNG key.
    :param like: a tree in the shape of the position.
    :param int num_probes: number of probes.
    :return: a tree like `like`, in the units of the Hessian.
    """
    probe = sign_probes(rng_key, like, num_probes)

    def squares(t):
        return jax.tree.map(jnp.square, product(t, probe(t)))

    total = sum_of(squares, num_probes)
    return jax.tree.map(lambda t: jnp.sqrt(t / num_probes), total)


def power_iteration(
    product: Callable[[Any, Tree], Tree],
    rng_key: jax.Array,
    like: Tree,
    num_steps: int,
    num_average: int,
) -> tuple[jax.Array, Tree]:
    """
    Largest eigenvalue, in absolute value, of a symmetric matrix known only by noisy
    products: `num_steps` power iterations, then the mean Rayleigh quotient over
    `num_average` more. The noise of each product is independent of its vector.

    :param product: function of a minibatch number (0, 1, ...) and a vector.
    :param rng_key: a PRNG key.
    :param like: a tree in the shape of the vector.
    :return: (eigenvalue, unit eigenvector).
    """

    def normalize(v):
        norm = jnp.sqrt(tree_dot(v, v))
        scale = jnp.where(norm > 0, 1.0 / norm, 0.0)
        return jax.tree.map(lambda x: x * scale.astype(x.dtype), v)

    # One loop for both phases, so that the product is compiled once. The vector keeps
    # turning while quotients are averaged.
    def step(t, carry):
        v, total = carry
        w = product(t, v)
        quotient = tree_dot(v, w)
        total += jnp.where(t >= num_steps, quotient, 0.0)
        return normalize(computed_after(w, quotient)), total

    start = normalize(tree_signs(rng_key, like))
    zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(like)))
    v, total = jax.lax.fori_loop(0, num_steps + num_average, step, (start, zero))
    return jnp.abs(total) / num_average, v
