# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The arguments of a model in compiled programs: arrays are inputs of the program,
everything else is part of it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import arrays_apart, is_array

__all__ = [
    "ArgumentPrograms",
    "abstractly",
    "data_signature",
    "traced_with",
    "without_values",
]


class _Same:
    """An object that cannot be hashed, compared by identity."""

    def __init__(self, value: Any):
        # Held, so that its address cannot be reused for another object.
        self.value = value

    def __eq__(self, other):
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self):
        return id(self.value)


def data_signature(data: Data) -> Any:
    """
    Hashable description of a model's arguments: shapes and types of arrays, values of
    everything else. It holds no array.
    """
    leaves, treedef = jax.tree.flatten(data)

    def describe(leaf):
        if is_array(leaf):
            return tuple(leaf.shape), jax.dtypes.canonicalize_dtype(leaf.dtype).name
        try:
            hash(leaf)
        except TypeError:
            return _Same(leaf)
        # With its type, because True == 1 == 1.0.
        return type(leaf), leaf

    return treedef, tuple(describe(leaf) for leaf in leaves)


def without_values(fn: Callable[[Data], Any], data: Data) -> tuple[Any, bool]:
    """
    `fn(data)`, and whether it can do without the values of the arrays. Some models look
    at them (`int(group.max())`).

    :param fn: function of a model's arguments; what it returns holds no arrays.
    :param Data data: the arguments.
    """
    arrays, rebuild = arrays_apart(data)
    try:
        return abstractly(lambda xs: fn(rebuild(xs)), arrays), True
    except jax.errors.JAXTypeError:
        return fn(data), False


def abstractly(fn: Callable[[list], Any], arrays: list) -> Any:
    """
    `fn(arrays)` with unknown values in place of the arrays.

    :param fn: a function; what it returns holds no arrays.
    :param arrays: arrays, or their shapes and types.
    """
    found = []
    jax.eval_shape(lambda xs: found.append(fn(xs)), arrays)
    return found[-1]


def on_device(data: Data) -> Data:
    """The data with NumPy arrays as JAX arrays, which traced indices can index."""
    return jax.tree.map(lambda x: jnp.asarray(x) if is_array(x) else x, data)


def traced_with(fn: Callable[..., Any], data: Data) -> tuple[Any, Data]:
    """
    `fn(*args, **kwargs)`, which traces a model, and the data that it took: NumPy arrays
    become JAX arrays where a traced index has to index them, and otherwise stay what
    they are, for models that look at their values.

    :param fn: function of the model's arguments.
    :param Data data: the arguments.
    """
    args, kwargs = data
    try:
        return fn(*args, **kwargs), data
    except jax.errors.TracerArrayConversionError:
        args, kwargs = on_device(data)
        return fn(*args, **kwargs), (args, kwargs)


class ArgumentPrograms:
    """
    Functions of a model's arguments, compiled once for arguments of one shape.

    :param bool traced: whether arrays are inputs of the programs. Otherwise they are
        constants, and each call recompiles.
    """

    def __init__(self, traced: bool = True):
        self._traced = traced
        self._programs: dict[str, Callable] = {}

    def prepare(self, args: tuple, kwargs: dict) -> Data:
        """Arguments as the programs take them: NumPy arrays moved to the device."""
        if not self._traced:
            return args, kwargs
        return on_device((args, kwargs))

    def compiled(self, name: str, fn: Callable, data: Data) -> Callable:
        """
        `fn(data, *rest)` as a compiled function of `rest`.

        :param str name: name under which the program is kept.
        :param fn: the function; it must not hold data itself.
        """
        if not self._traced:
            return jax.jit(lambda *rest: fn(data, *rest))
        arrays, rebuild = arrays_apart(data)
        if name not in self._programs:
            self._programs[name] = jax.jit(lambda xs, *rest: fn(rebuild(xs), *rest))
        program = self._programs[name]
        return lambda *rest: program(arrays, *rest)

    def call(self, name: str, fn: Callable, data: Data, *rest: Any) -> Any:
        """
        `fn(data, *rest)`, compiled. For a function that looks at the values of its data
        they are constants from then on.

        :param str name: name under which the program is kept.
        :param fn: the function; it must not hold data itself.
        """
        try:
            return self.compiled(name, fn, data)(*rest)
        except jax.errors.JAXTypeError:
            if not self._traced:
                raise
            self._traced = False
            return self.compiled(name, fn, data)(*rest)
