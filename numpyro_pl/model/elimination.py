# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Sums over discrete variables, one variable after the other.

A variable within plates has a value for each element of them, and elements are
independent of one another given all that is outside. So each variable is summed out
within its own plates, those in most plates first.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["LogFactor", "Variable", "sum_out"]


class Variable(NamedTuple):
    """
    A discrete variable.

    - **name** - of its site.
    - **plates** - names of the plates around it.
    """

    name: str
    plates: frozenset[str]


class LogFactor(NamedTuple):
    """
    The logarithm of a factor of a joint density.

    - **values** - one axis for each of the variables, and one for each dimension of
      plates, of size 1 where the factor is in no such plate.
    - **variables** - that it depends on, in the order of its axes.
    - **plates** - dimension of each of its plates by name, from -1 down.
    - **name** - of the site that it comes from.
    """

    values: jax.Array
    variables: tuple[Variable, ...]
    plates: dict[str, int]
    name: str


def sum_out(
    factors: Sequence[LogFactor], variables: Sequence[Variable]
) -> list[LogFactor]:
    """
    Sum variables out of a product of factors.

    :param factors: the factors, all with the same number of dimensions of plates.
    :param variables: all the variables that they depend on.
    :return: factors that depend on no variable, named by the last one summed out of it.
    :raises ValueError: where a factor outside a plate depends on a variable within it,
        or one within two plates on a variable of each.
    """
    left, product = list(variables), list(factors)
    while left:
        variable = min(left, key=lambda v: _cost(v, left, product))
        left.remove(variable)
        touched = [f for f in product if variable in f.variables]
        product = [f for f in product if variable not in f.variables]
        product.append(_summed(touched, variable))
    return product


def _cost(variable: Variable, left: list[Variable], factors: list[LogFactor]):
    """Variables in most plates come first, and of those the cheapest one."""
    inner = any(variable.plates < other.plates for other in left)
    touched = [f for f in factors if variable in f.variables]
    shape = jnp.broadcast_shapes(*_aligned_shapes(touched, _united(touched)))
    return inner, math.prod(shape)


def _united(factors: list[LogFactor]) -> list[Variable]:
    """The variables of several factors, each once."""
    return list(dict.fromkeys(v for f in factors for v in f.variables))


def _aligned_shapes(factors: list[LogFactor], variables: list[Variable]) -> list[tuple]:
    """Shapes of factors with one axis for each of `variables`, in their order."""
    shapes = []
    for factor in factors:
        sizes = dict(zip(factor.variables, factor.values.shape, strict=False))
        of_plates = factor.values.shape[len(factor.variables) :]
        shapes.append(tuple(sizes.get(v, 1) for v in variables) + of_plates)
    return shapes


def _summed(factors: list[LogFactor], variable: Variable) -> LogFactor:
    """The factor that is left of all those of a variable when it is summed out."""
    factors = [_within(f, variable) for f in factors]
    variables = _united(factors)
    shapes = _aligned_shapes(factors, variables)
    total: jax.Array = jnp.zeros(())
    for factor, shape in zip(factors, shapes, strict=True):
        order = [factor.variables.index(v) for v in variables if v in factor.variables]
        plate_axes = range(len(order), factor.values.ndim)
        values = jnp.transpose(factor.values, (*order, *plate_axes))
        total = total + values.reshape(shape)
    axis = variables.index(variable)
    rest = tuple(v for v in variables if v != variable)
    plates = factors[0].plates
    return LogFactor(_log_sum_exp(total, axis), rest, plates, variable.name)


def _log_sum_exp(x: jax.Array, axis: int) -> jax.Array:
    """JAX's own compiles three times as many operations, for signs and weights."""
    largest = lax.stop_gradient(jnp.max(x, axis, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    return jnp.log(jnp.sum(jnp.exp(x - largest), axis)) + jnp.squeeze(largest, axis)


def _within(factor: LogFactor, variable: Variable) -> LogFactor:
    """A factor summed over the plates that the variable is not in."""
    outside = variable.plates - factor.plates.keys()
    if outside:
        raise ValueError(
            f"site '{factor.name}' is outside plate '{min(outside)}' and depends on "
            f"the discrete site '{variable.name}' within it, so that the elements of "
            "the plate cannot be summed over one by one. Move the site into the plate, "
            "or marginalize by hand."
        )
    others = [v for v in factor.variables if not v.plates <= variable.plates]
    if others:
        raise ValueError(
            f"site '{factor.name}' depends on the discrete sites '{variable.name}' and "
            f"'{others[0].name}', each in a plate that the other is not in: their "
            "values cannot be summed over one by one. Marginalize by hand."
        )
    dims = [d for name, d in factor.plates.items() if name not in variable.plates]
    values = jnp.sum(factor.values, axis=tuple(dims), keepdims=True)
    plates = {n: d for n, d in factor.plates.items() if n in variable.plates}
    return factor._replace(values=values, plates=plates)
