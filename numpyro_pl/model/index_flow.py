# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Where the plate indices of a model flow: which arrays they index, and which values
depend on them. Read from the traced program, so nothing is computed, and a user's
`y[ind]` is recognized as well as `numpyro.subsample`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

__all__ = ["INDEX_OPS", "IndexFlow", "flows_through", "trace_indices"]


class IndexFlow(NamedTuple):
    """
    - **gathers** - (plate, shape of the indexed array, indexed axis), each array once.
    - **dependent** - names of the values that depend on the indices.
    """

    gathers: list[tuple[str, tuple[int, ...], int]]
    dependent: list[str]


class _Flow(NamedTuple):
    """Plates that a variable depends on, and plates whose index it is."""

    plates: frozenset[str] = frozenset()
    index_of: frozenset[str] = frozenset()


INDEX_OPS = frozenset(
    "add broadcast_in_dim concatenate convert_element_type copy expand_dims max min "
    "reshape select_n slice squeeze stop_gradient clamp transpose".split()
)
"""Operations through which an index stays an index of the same plate."""


def _inner_jaxpr(eqn):
    """The program inside a call-like equation with the same inputs and outputs."""
    if eqn.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = eqn.params.get(name)
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns") and len(inner.invars) == len(eqn.invars):
            if len(inner.outvars) == len(eqn.outvars):
                return inner
    return None


def flows_through(
    jaxpr: Any, flows: list, of_equation: Callable[[Any, list], Any], nothing: Any
) -> list:
    """
    Follow what the inputs of a program are made of to its outputs.

    :param jaxpr: the program.
    :param list flows: what each of its inputs is made of.
    :param of_equation: function (equation, flows of its inputs) -> flow of its outputs.
    :param nothing: the flow of a constant.
    """
    known: dict[Any, Any] = dict(zip(jaxpr.invars, flows, strict=True))

    def read(v):
        return nothing if hasattr(v, "val") else known.get(v, nothing)

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        inner = _inner_jaxpr(eqn)
        if inner is not None:
            outputs = flows_through(inner, inputs, of_equation, nothing)
        else:
            outputs = [of_equation(eqn, inputs)] * len(eqn.outvars)
        known.update(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _of_equation(gathers: list, eqn, inputs: list[_Flow]) -> _Flow:
    """What the results of an operation depend on; gathers are noted."""
    plates = frozenset().union(*(f.plates for f in inputs))
    index_of: frozenset = frozenset()
    if eqn.primitive.name in INDEX_OPS:
        index_of = frozenset().union(*(f.index_of for f in inputs))
    elif eqn.primitive.name == "gather":
        axes = eqn.params["dimension_numbers"].start_index_map
        if len(axes) == 1 and not inputs[0].plates:
            shape = tuple(eqn.invars[0].aval.shape)
            gathers += [(p, shape, axes[0]) for p in inputs[1].index_of]
    return _Flow(plates, index_of)


def trace_indices(fn: Callable, indices: dict[str, Any]) -> IndexFlow:
    """
    Trace `fn(indices)`, which returns (dict of values, anything).

    :param fn: function of a dict of index arrays by plate name.
    :param indices: index arrays of the right shapes (their values do not matter).
    """
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(indices)
    names = jax.tree.leaves({name: name for name in indices})
    flows = [_Flow(frozenset({n}), frozenset({n})) for n in names]
    gathers: list = []
    of_equation = partial(_of_equation, gathers)
    outputs = flows_through(closed.jaxpr, flows, of_equation, _Flow())
    values, _ = shape
    owners = [name for name in sorted(values) for _ in jax.tree.leaves(values[name])]
    dependent = sorted({n for n, f in zip(owners, outputs, strict=False) if f.plates})
    return IndexFlow(sorted(set(gathers)), dependent)
