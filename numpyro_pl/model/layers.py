# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Whether a model is a network: whether it multiplies matrices that both depend on its
weights. Read from the traced program, so nothing is computed.
"""

from collections.abc import Callable, Container
from typing import Any

import jax

from numpyro_pl.model.index_flow import flows_through
from numpyro_pl.trees.arithmetic import Tree

__all__ = ["has_layers"]

PRODUCTS = frozenset(("dot_general", "conv_general_dilated"))
"""Operations that make a layer if both operands depend on weights."""


def has_layers(
    fn: Callable[[dict], Tree], z: dict[str, Any], others: Container[str] = ()
) -> bool:
    """
    Whether a function multiplies matrices that both depend on its weights.

    :param fn: a function.
    :param z: a dict of arrays that it takes, or of their shapes and types.
    :param others: names of those that are no weights, such as scales and correlations,
        by which models that are no networks multiply the effects of groups.
    """
    found = False

    def of_equation(eqn, inputs):
        nonlocal found
        depends = any(inputs)
        found |= eqn.primitive.name in PRODUCTS and all(inputs)
        # Solvers of differential equations have loops of unknown length.
        found |= eqn.primitive.name == "while" and depends
        for inner, flows in _programs_within(eqn, inputs):
            flows_through(inner, flows, of_equation, False)
        return depends

    paths, _ = jax.tree_util.tree_flatten_with_path(z)
    flows = [path[0].key not in others for path, _ in paths]
    flows_through(jax.make_jaxpr(fn)(z).jaxpr, flows, of_equation, False)
    return found


def _programs_within(eqn, inputs: list[bool]) -> list[tuple[Any, list[bool]]]:
    """The programs within a scan or a choice, and which of their inputs depend."""
    name, params = eqn.primitive.name, eqn.params
    if name == "cond":
        return [(branch.jaxpr, inputs[1:]) for branch in params["branches"]]
    if name != "scan":
        return []
    start = params["num_consts"]
    end = start + params["num_carry"]
    # What is carried from one pass to the next may come to depend on anything.
    carried = [any(inputs)] * (end - start)
    return [(params["jaxpr"].jaxpr, inputs[:start] + carried + inputs[end:])]
