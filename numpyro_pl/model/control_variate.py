# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Control variates: minibatch potentials relative to an anchor.

In place of the minibatch potential :math:`U_b(x)`, its Taylor polynomial at the anchor
:math:`x_*`, here called :math:`P_b`, is taken from all the data:
:math:`U_b(x) - P_b(x) + P(x)`. The mean over minibatches is what it was. With the
linear part alone the noise of the gradient :math:`g(x, b) - g(x_*, b) + \nabla U(x_*)`
falls with the distance to the anchor (Baker, Fearnhead, Fox, Nemeth 2019,
arXiv:1706.05439); with the quadratic part too, which needs the Hessian on all the data,
with the square of the distance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree, tree_dot

__all__ = ["Anchor", "anchored_potential", "relative_to_anchor"]


class Anchor(NamedTuple):
    """
    Where the first terms of the Taylor series are taken from all the data.

    - **position** - the anchor.
    - **energy** - potential there on the full data, in nats.
    - **slope** - its gradient there, a tree like the position.
    - **curvature** - its Hessian there, of shape (n, n) for a position that is a vector
      in a tuple; empty to replace the linear part only.
    - **share** - share of the terms that is replaced: 1, or 0 for none.
    """

    position: Tree
    energy: jax.Array
    slope: Tree
    curvature: Any
    share: Any

    @property
    def is_quadratic(self) -> bool:
        """Whether the quadratic part is replaced too."""
        return not isinstance(self.curvature, tuple)

    def energy_at(self, step: Tree) -> jax.Array:
        """
        The first terms of the potential on the full data, in nats.

        :param step: distance from the anchor, a tree like the position.
        """
        linear = self.energy + tree_dot(self.slope, step)
        if not self.is_quadratic:
            return linear
        (vector,) = step
        return linear + 0.5 * vector @ self.curvature @ vector


def relative_to_anchor(fn: Callable[[Tree], jax.Array], anchor: Anchor) -> Callable:
    """
    `fn` less the first terms of its Taylor series at the anchor.

    :param fn: function of a position.
    """

    def residual(position):
        step = jax.tree.map(jnp.subtract, position, anchor.position)

        def to_first_order(x):
            return jax.jvp(fn, (x,), (step,))

        if not anchor.is_quadratic:
            value, first = to_first_order(anchor.position)
            return fn(position) - anchor.share * (value + first)
        (value, first), (_, second) = jax.jvp(
            to_first_order, (anchor.position,), (step,)
        )
        return fn(position) - anchor.share * (value + first + 0.5 * second)

    return residual


def anchored_potential(fn: Callable[[Tree], jax.Array], anchor: Anchor) -> Callable:
    """
    A minibatch potential with the first terms of the full one.

    :param fn: minibatch potential as a function of the position, in nats.
    """
    residual = relative_to_anchor(fn, anchor)

    def potential(position):
        step = jax.tree.map(jnp.subtract, position, anchor.position)
        return residual(position) + anchor.share * anchor.energy_at(step)

    return potential
