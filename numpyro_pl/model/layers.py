# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Whether a model is a network: whether it multiplies matrices that both depend on its
latent values. Read from the traced program, so nothing is computed.
"""

from collections.abc import Callable

import jax

from numpyro_pl.model.index_flow import flows_through
from numpyro_pl.trees.arithmetic import Tree

__all__ = ["has_layers"]

PRODUCTS = frozenset(("dot_general", "conv_general_dilated"))
"""Operations that make a layer if both operands depend on latent values."""

LOOPS = frozenset(("scan", "while"))
"""Operations whose insides are not looked at, and which may hold layers."""


def has_layers(fn: Callable[[Tree], Tree], z: Tree) -> bool:
    """
    Whether a function multiplies matrices that both depend on its argument.

    :param fn: a function.
    :param z: a tree of arrays that it takes, or of their shapes and types.
    """
    found = False

    def of_equation(eqn, inputs):
        nonlocal found
        name, depends = eqn.primitive.name, any(inputs)
        found |= name in PRODUCTS and all(inputs)
        found |= name in LOOPS and depends
        return depends

    closed = jax.make_jaxpr(fn)(z)
    flows_through(closed.jaxpr, [True] * len(closed.jaxpr.invars), of_equation, False)
    return found
