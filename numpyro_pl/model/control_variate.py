# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Control variates: minibatch potentials relative to an anchor.

In place of the minibatch potential :math:`U_b(x)`, its linear part at the anchor
:math:`x_*` is taken from all the data:

.. math::

    U_b(x) - U_b(x_*) - \nabla U_b(x_*) \cdot (x - x_*)
    + U(x_*) + \nabla U(x_*) \cdot (x - x_*) .

Its gradient is :math:`g(x, b) - g(x_*, b) + \nabla U(x_*)`. The mean over minibatches
is what it was; the noise falls with the square of the distance to the anchor (Baker,
Fearnhead, Fox, Nemeth 2019, arXiv:1706.05439).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree, tree_dot

__all__ = ["Anchor", "anchored_potential", "relative_to_anchor"]


class Anchor(NamedTuple):
    """
    Where the linear part is taken from all the data.

    - **position** - the anchor.
    - **energy** - potential there on the full data, in nats.
    - **slope** - its gradient there, a tree like the position.
    - **share** - share of the linear part that is replaced: 1, or 0 for none.
    """

    position: Tree
    energy: jax.Array
    slope: Tree
    share: Any


def relative_to_anchor(fn: Callable[[Tree], jax.Array], anchor: Anchor) -> Callable:
    """
    `fn` less its value and its linear part at the anchor.

    :param fn: function of a position.
    """

    def residual(position):
        step = jax.tree.map(jnp.subtract, position, anchor.position)
        value, change = jax.jvp(fn, (anchor.position,), (step,))
        return fn(position) - anchor.share * (value + change)

    return residual


def anchored_potential(fn: Callable[[Tree], jax.Array], anchor: Anchor) -> Callable:
    """
    A minibatch potential with the linear part of the full one.

    :param fn: minibatch potential as a function of the position, in nats.
    """
    residual = relative_to_anchor(fn, anchor)

    def potential(position):
        step = jax.tree.map(jnp.subtract, position, anchor.position)
        linear = anchor.energy + tree_dot(anchor.slope, step)
        return residual(position) + anchor.share * linear

    return potential
