# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The exponentially weighted average of an optimizer's iterates, as an optax
transformation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from numpyro_pl.trees.arithmetic import Tree, is_traced

__all__ = [
    "AverageIteratesState",
    "average_iterates",
    "averaged_params",
    "check_range",
]


class AverageIteratesState(NamedTuple):
    """
    State of :func:`average_iterates`.

    - **step** - number of iterates averaged.
    - **average** - the average of the iterates, a tree like the parameters.
    """

    step: jax.Array
    average: Tree


def _concrete(value) -> float | None:
    """The number behind `value`, or None if it is known only at run time."""
    if is_traced(value) or callable(value):
        return None
    return float(value) if np.ndim(value) == 0 else None


def check_range(name: str, value, ok: Callable[[float], bool], remedy: str) -> None:
    """
    Reject a setting that is out of range, if its value is known.

    :raises ValueError: naming the setting, its value and the remedy.
    """
    number = _concrete(value)
    if number is not None and not ok(number):
        raise ValueError(f"{name}={number:g} is out of range. {remedy}")


def average_iterates(decay: float | jax.Array) -> optax.GradientTransformation:
    r"""
    Keep the exponentially weighted average of the iterates,

    .. math::
        \bar x_t = \frac{1 - \beta}{1 - \beta^t} \sum_{k=1}^t \beta^{t-k} x_k,

    in the optimizer state and leave the updates as they are. The guarantee of
    arXiv:2405.09742 (Algorithm 1) is for this average. Chain it last: it reads
    `params + updates`. It costs one more array in the size of the parameters. Read it
    with :func:`averaged_params`.

    :param decay: weight `beta` in [0, 1) of the past.
    :raises ValueError: if `decay` is outside [0, 1), or if `update` is called
        without `params`.
    """
    check_range("decay", decay, lambda v: 0 <= v < 1, "It must be in [0, 1).")

    def init_fn(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AverageIteratesState(jnp.zeros((), jnp.int32), zeros)

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError(
                "average_iterates needs the parameters: call "
                "optimizer.update(grads, state, params)."
            )
        count = optax.safe_increment(state.step)
        weight = (1 - decay) / (1 - jnp.power(jnp.float32(decay), count))
        average = jax.tree.map(
            lambda a, x: a + weight.astype(a.dtype) * (x - a),
            state.average,
            optax.apply_updates(params, updates),
        )
        return updates, AverageIteratesState(count, average)

    return optax.GradientTransformation(init_fn, update_fn)


def averaged_params(opt_state: Tree) -> Tree:
    """
    The averaged iterate kept by :func:`average_iterates`.

    :param opt_state: state of an optimizer, however nested. Before the first step the
        average is zero.
    :return: a tree like the parameters.
    :raises ValueError: if `opt_state` holds no average, or several.
    """

    def is_average(x):
        return isinstance(x, AverageIteratesState)

    found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(x)]
    if len(found) != 1:
        raise ValueError(
            f"the optimizer state holds {len(found)} averages of the iterates, not "
            "one. Build the optimizer by random_scaled_sgdm(..., average=True), or "
            "chain average_iterates(decay) last, once."
        )
    return found[0].average
