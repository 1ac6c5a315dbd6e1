# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What a model does with the rows of its arguments, read from the traced program. Where
rows are split over devices, a model may take the rows of a minibatch and compute with
those, but nothing else: the mean of a column, say, would be that of one device's rows.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from numpyro_pl.model.index_flow import INDEX_OPS, flows_through

__all__ = ["RowUse", "trace_rows"]


class Whole(NamedTuple):
    """
    A value that has all rows of an argument.

    - **argument** - label of the argument.
    - **axis** - axis of the rows.
    """

    argument: str
    axis: int


class _Fault(NamedTuple):
    """
    What a value depends on besides single rows.

    - **words** - what it is.
    - **plate** - the plate if it is a fault only where the plate's rows are split.
    """

    words: str
    plate: str | None = None


class _Flow(NamedTuple):
    """
    What a variable is made of.

    - **whole** - the argument all of whose rows it has, row by row.
    - **index_of** - plates whose row numbers it holds.
    - **faults** - what else it depends on.
    """

    whole: Whole | None = None
    index_of: frozenset[str] = frozenset()
    faults: frozenset[_Fault] = frozenset()


class RowUse(NamedTuple):
    """
    - **taken** - pairs (plate, argument): which rows are taken by which plate.
    - **faults** - what the values of each site depend on besides single rows, in words.
    """

    taken: frozenset[tuple[str, str]]
    faults: dict[str, list[str]]


_ELEMENTWISE = frozenset(
    "abs add and atan2 cbrt ceil clamp convert_element_type copy cos cosh div eq erf "
    "erf_inv exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p "
    "logistic lt max min mul ne neg not or pow rem round rsqrt select_n sign sin sinh "
    "sqrt square stop_gradient sub tan tanh xor".split()
)


def _all_rows(label: str) -> _Fault:
    return _Fault(f"all rows of argument {label} at once")


def _numbers(plate: str) -> _Fault:
    return _Fault(f"the row numbers of plate '{plate}' themselves", plate)


def _whole_array(shape: tuple[int, ...], plate: str) -> _Fault:
    return _Fault(
        f"an array of shape {shape} that plate '{plate}' indexes, but that is not "
        "split over the devices as its rows are",
        plate,
    )


def _moved(eqn, position: int, whole: Whole) -> Whole | None:
    """An operand with all rows after an operation that leaves them row by row."""
    name = eqn.primitive.name
    operand, out = eqn.invars[position].aval, eqn.outvars[0].aval
    if name in _ELEMENTWISE:
        new = whole.axis if operand.shape == out.shape else None
    elif name in _MOVES:
        new = _MOVES[name](eqn.params, whole.axis, operand.shape, out.shape)
    else:
        new = None
    return None if new is None else Whole(whole.argument, new)


def _less(axis: int, dropped) -> int | None:
    """The number of an axis after others are gone; None if it is gone itself."""
    return None if axis in dropped else axis - sum(d < axis for d in dropped)


def _after_reshape(params, axis, shape, new_shape) -> int | None:
    before = math.prod(shape[:axis])
    for k in reversed(range(len(new_shape))):
        if new_shape[k] == shape[axis] and math.prod(new_shape[:k]) == before:
            return k
    return None


def _after_gather(params, axis, shape, new_shape) -> int | None:
    numbers = params["dimension_numbers"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    if axis in gone or params["slice_sizes"][axis] != shape[axis]:
        return None
    return numbers.offset_dims[_less(axis, gone)]


def _after_reduction(params, axis, shape, new_shape) -> int | None:
    return _less(axis, params["axes"])


# By operation, the axis of the rows in the result: of the operation's parameters, the
# axis before, and the shapes before and after.
_MOVES: dict[str, Callable[..., int | None]] = {
    "broadcast_in_dim": lambda p, axis, *_: p["broadcast_dimensions"][axis],
    "squeeze": lambda p, axis, *_: _less(axis, p["dimensions"]),
    "transpose": lambda p, axis, *_: p["permutation"].index(axis),
    "slice": lambda p, axis, old, new: axis if old[axis] == new[axis] else None,
    "concatenate": lambda p, axis, *_: None if p["dimension"] == axis else axis,
    "reshape": _after_reshape,
    "gather": _after_gather,
    "reduce_sum": _after_reduction,
    "reduce_max": _after_reduction,
    "reduce_min": _after_reduction,
}


def _of_gather(eqn, inputs: list[_Flow], taken: set) -> _Flow | None:
    """Rows of an argument taken by a plate; None if this is not what happens."""
    operand, index = inputs[0], inputs[1]
    axes = eqn.params["dimension_numbers"].start_index_map
    if operand.whole is None or axes != (operand.whole.axis,):
        return None
    if len(index.index_of) != 1:
        return None
    (plate,) = index.index_of
    taken.add((plate, operand.whole.argument))
    return _Flow(faults=operand.faults | (index.faults - {_numbers(plate)}))


def _through(taken: set, eqn, inputs: list[_Flow]) -> _Flow:
    """What the results of an operation are made of."""
    name = eqn.primitive.name
    if name == "gather":
        flow = _of_gather(eqn, inputs, taken)
        if flow is not None:
            return flow
    faults = frozenset().union(*(f.faults for f in inputs))
    index_of = frozenset().union(*(f.index_of for f in inputs))
    if name not in INDEX_OPS:
        faults |= {_numbers(plate) for plate in index_of}
        index_of = frozenset()
    moved = [
        _moved(eqn, i, f.whole) for i, f in enumerate(inputs) if f.whole is not None
    ]
    whole = moved[0] if moved else None
    if len({m and m.axis for m in moved}) > 1 or (moved and whole is None):
        faults |= {_all_rows(f.whole.argument) for f in inputs if f.whole}
        whole = None
    if name == "gather" and inputs[1].index_of and inputs[0].whole is None:
        shape = tuple(eqn.invars[0].aval.shape)
        (plate, *_) = inputs[1].index_of
        faults = (faults - {_numbers(plate)}) | {_whole_array(shape, plate)}
    return _Flow(whole, index_of, faults)


def trace_rows(
    fn: Callable, indices: dict[str, Any], arrays: dict[str, Any], axes: dict[str, int]
) -> RowUse:
    """
    Trace `fn(indices, arrays)`, which returns a dict of values.

    :param fn: function of a dict of row numbers by plate and of a dict of arrays by
        label.
    :param indices: row numbers of the right shapes.
    :param arrays: shapes of the arguments whose rows are split, by label.
    :param axes: axes of their rows, by label.
    """
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(indices, arrays)
    flows = [_Flow(index_of=frozenset({name})) for name in sorted(indices)]
    flows += [_Flow(whole=Whole(label, axes[label])) for label in sorted(arrays)]
    taken: set[tuple[str, str]] = set()
    of_equation = partial(_through, taken)
    outputs = flows_through(closed.jaxpr, flows, of_equation, _Flow())
    owners = [name for name in sorted(shape) for _ in jax.tree.leaves(shape[name])]
    split = {plate for plate, _ in taken}
    found: dict[str, set[str]] = {}
    for name, flow in zip(owners, outputs, strict=True):
        faults = set(flow.faults) | {_numbers(plate) for plate in flow.index_of}
        if flow.whole is not None:
            faults.add(_all_rows(flow.whole.argument))
        words = {f.words for f in faults if f.plate is None or f.plate in split}
        found.setdefault(name, set()).update(words)
    return RowUse(frozenset(taken), {n: sorted(w) for n, w in found.items() if w})
