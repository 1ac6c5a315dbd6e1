# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Random-scaled stochastic gradient descent with momentum (SGDM), as optax
transformations.

Each piece is usable alone in :func:`optax.chain`: the random scale, the average of
the iterates, and the optimizer made of both.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random

from numpyro_pl.optim.averaging import average_iterates, check_range
from numpyro_pl.trees.arithmetic import Tree, is_array

__all__ = [
    "ScaleByRandomState",
    "fold_in_stream",
    "random_scaled_sgdm",
    "scale_by_random",
]

ScalarOrSchedule = float | jax.Array | Callable[[jax.Array], Any]

_DISTRIBUTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "exponential": lambda key: random.exponential(key),
    "uniform": lambda key: random.uniform(key, maxval=2.0),
    "constant": lambda key: jnp.ones(()),
}


class ScaleByRandomState(NamedTuple):
    """
    State of :func:`scale_by_random`.

    - **step** - number of steps taken.
    - **rng_key** - PRNG key of the stream; step t uses `fold_in(rng_key, t)`.
    """

    step: jax.Array
    rng_key: jax.Array


class _MomentumState(NamedTuple):
    """`D` of the update equation, and the step count for a schedule."""

    step: jax.Array
    momentum: Tree


def _stream_key(rng_key) -> jax.Array:
    """A PRNG key from an int or a key, typed or raw, traced or not."""
    if is_array(rng_key) and (
        jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key) or jnp.ndim(rng_key) > 0
    ):
        return rng_key
    return random.key(rng_key)


def scale_by_random(
    distribution: str = "exponential", rng_key: int | jax.Array = 0
) -> optax.GradientTransformation:
    """
    Multiply the whole update by one random scalar per step, of mean one. Chain it
    *last*, after the learning rate, so that it scales the step itself. Random-scaled
    Adam, for example::

        >>> import optax
        >>> from numpyro_pl.optim import scale_by_random
        >>> optimizer = optax.chain(optax.adam(1e-3), scale_by_random(rng_key=1))

    With `s ~ Exp(1)` and any update `D` that does not depend on `s`,
    `E[f(x + s D) - f(x)] = E[<grad f(x + s D), D>]` holds without a smoothness
    assumption on `f` (reference [1], Lemma 3.1); the other two distributions lack this
    property and serve for comparison.

    **References**

    1. *Random scaling and momentum for non-smooth non-convex optimization*,
       Qinzi Zhang, Ashok Cutkosky (2024), arXiv:2405.09742

    :param str distribution: `"exponential"`: Exp(1); `"uniform"`: Uniform(0, 2);
        `"constant"`: 1.
    :param rng_key: a PRNG key, or an int to make one from. Copies of the optimizer that
        run side by side need a stream each: pass `rng_key=key` inside
        :func:`jax.vmap` over keys, or apply :func:`fold_in_stream` to the states.
    :raises ValueError: if `distribution` is none of the three.
    """
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(
            f"unknown distribution {distribution!r}. Choose one of "
            f"{sorted(_DISTRIBUTIONS)}; the theory holds for 'exponential'."
        )
    draw = _DISTRIBUTIONS[distribution]

    def init_fn(params):
        del params
        return ScaleByRandomState(jnp.zeros((), jnp.int32), _stream_key(rng_key))

    def update_fn(updates, state, params=None):
        del params
        scale = draw(random.fold_in(state.rng_key, state.step))
        updates = jax.tree.map(lambda u: scale.astype(u.dtype) * u, updates)
        return updates, state._replace(step=optax.safe_increment(state.step))

    return optax.GradientTransformation(init_fn, update_fn)


def fold_in_stream(opt_state: Tree, data: int | jax.Array) -> Tree:
    """
    Give an optimizer state its own stream of random scales: `data` is folded into the
    key of each :func:`scale_by_random` in it, however nested; everything else is
    unchanged. For independent copies under :func:`jax.vmap`::

        >>> import jax, jax.numpy as jnp
        >>> from numpyro_pl.optim import fold_in_stream, random_scaled_sgdm
        >>> optimizer = random_scaled_sgdm(0.1)
        >>> init = lambda params, i: fold_in_stream(optimizer.init(params), i)
        >>> states = jax.vmap(init)(jnp.zeros((4, 10)), jnp.arange(4))

    :param opt_state: state of an optimizer, or any tree that contains one.
    :param data: an integer, which may be traced.
    :return: a tree like `opt_state`.
    """

    def is_random(x):
        return isinstance(x, ScaleByRandomState)

    def fold(x):
        if is_random(x):
            return x._replace(rng_key=random.fold_in(x.rng_key, data))
        return x

    return jax.tree.map(fold, opt_state, is_leaf=is_random)


def _scale_by_momentum(learning_rate, momentum, regularization):
    def init_fn(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _MomentumState(jnp.zeros((), jnp.int32), zeros)

    def update_fn(updates, state, params=None):
        del params
        eta = learning_rate(state.step) if callable(learning_rate) else learning_rate
        beta = momentum / (1 + eta * regularization)
        # Expanded: XLA would merge a factor common to both terms with the random scale
        # that follows, and compute the momentum twice.
        decay, rate = jnp.asarray(beta), jnp.asarray(beta * eta)
        updates = jax.tree.map(
            lambda d, g: decay.astype(d.dtype) * d - (rate * g).astype(d.dtype),
            state.momentum,
            updates,
        )
        return updates, _MomentumState(optax.safe_increment(state.step), updates)

    return optax.GradientTransformation(init_fn, update_fn)


def random_scaled_sgdm(
    learning_rate: ScalarOrSchedule,
    momentum: float | jax.Array = 0.99,
    regularization: float | jax.Array = 0.0,
    distribution: str = "exponential",
    rng_key: int | jax.Array = 0,
    average: bool = False,
) -> optax.GradientTransformation:
    r"""
    SGD with momentum whose update is multiplied at each step by one random scalar
    for the whole tree (reference [1], Algorithm 2):

    .. math::
        D_t &= \frac{\beta}{1 + \eta_t \mu} (D_{t-1} - \eta_t g_t), \\
        x_t &= x_{t-1} + s_t D_t, \qquad s_t \sim \mathrm{Exp}(1),

    with :math:`g_t` the gradient at :math:`x_{t-1}` and :math:`D_0 = 0`. Note the
    conventions of the paper: the learning rate is inside the momentum, so that a
    schedule acts on new gradients alone; and :math:`\mu` shrinks the momentum
    :math:`D`, not the parameters. With :math:`\eta` constant and
    `distribution="constant"` this is `optax.sgd(b * learning_rate, momentum=b)`, where
    `b = momentum / (1 + learning_rate * regularization)`.

    Works under `jit`, `scan` and `vmap`, in :func:`optax.chain` and
    :func:`optax.inject_hyperparams`, and in NumPyro's `SVI`, which takes it as it is or
    through `numpyro.optim.optax_to_numpyro`::

        >>> import jax, jax.numpy as jnp, optax
        >>> from numpyro_pl.optim import random_scaled_sgdm
        >>> optimizer = random_scaled_sgdm(0.01, momentum=0.9)
        >>> x = jnp.array([1.0, 2.0])
        >>> state = optimizer.init(x)
        >>> updates, state = optimizer.update(jax.grad(lambda x: x @ x)(x), state, x)
        >>> x = optax.apply_updates(x, updates)

    **References**

    1. *Random scaling and momentum for non-smooth non-convex optimization*,
       Qinzi Zhang, Ashok Cutkosky (2024), arXiv:2405.09742

    :param learning_rate: :math:`\eta`, a positive number or an optax schedule.
    :param momentum: :math:`\beta` in [0, 1).
    :param regularization: :math:`\mu \ge 0`, strength of the decay of the momentum.
    :param str distribution: law of the scalar, see :func:`scale_by_random`.
    :param rng_key: a PRNG key or an int, see :func:`scale_by_random` and, for copies
        that run under `vmap`, :func:`fold_in_stream`.
    :param bool average: whether to keep the average of the iterates with decay
        :math:`\beta`, see :func:`average_iterates` and :func:`averaged_params`.
    :return: an optax transformation.
    :raises ValueError: if a number is out of range (numbers known only at run time and
        schedules are not checked) or `distribution` is unknown.
    """
    check_range(
        "learning_rate",
        learning_rate,
        lambda v: v > 0 and np.isfinite(v),
        "It must be a positive number or an optax schedule.",
    )
    check_range(
        "momentum",
        momentum,
        lambda v: 0 <= v < 1,
        "It must be in [0, 1); 0.9 to 0.99 is usual.",
    )
    check_range(
        "regularization",
        regularization,
        lambda v: v >= 0 and np.isfinite(v),
        "It must be zero or positive.",
    )
    parts = [
        _scale_by_momentum(learning_rate, momentum, regularization),
        scale_by_random(distribution, rng_key),
    ]
    if average:
        parts.append(average_iterates(momentum))
    return optax.chain(*parts)
