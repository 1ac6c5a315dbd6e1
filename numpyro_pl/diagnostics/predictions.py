# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Predictions at every draw, in batches of draws that bound the memory."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree, sum_of
from numpyro_pl.trees.checks import check_integer

__all__ = ["predictive_probabilities"]


def predictive_probabilities(
    fn: Callable[[Tree, Any], jax.Array],
    samples: Mapping[str, Any],
    x: Any,
    *,
    batch_ndims: int = 1,
    batch_size: int = 32,
    average: bool = False,
) -> jax.Array:
    """
    Predictions of a function at every draw, or their mean over draws, evaluated
    `batch_size` draws at a time.

    **Example**

    .. doctest::

        >>> import jax, jax.numpy as jnp
        >>> from numpyro_pl.diagnostics import predictive_probabilities
        >>> def probabilities(params, x):
        ...     return jax.nn.softmax(x @ params["w"], axis=-1)
        >>> samples = {"w": jnp.zeros((2, 500, 64, 10))}  # (chain, draw, ...)
        >>> x = jnp.ones((360, 64))
        >>> predictive_probabilities(probabilities, samples, x, batch_ndims=2).shape
        (2, 500, 360, 10)
        >>> predictive_probabilities(
        ...     probabilities, samples, x, batch_ndims=2, average=True
        ... ).shape
        (360, 10)

    :param fn: function of one draw (a dict by site name) and of `x` that returns an
        array, for example of shape (points, classes). The compiled program is cached by
        function: define it once, not again for each call.
    :param dict samples: draws by site name, as `mcmc.get_samples()` returns them.
    :param x: inputs, passed to `fn` unchanged.
    :param int batch_ndims: number of leading axes over draws: 1 for (draw, ...), 2 for
        (chain, draw, ...).
    :param int batch_size: number of draws evaluated at once.
    :param bool average: whether to return the mean over all draws. Memory then holds
        one batch of predictions and the mean, rather than all predictions.
    :return: array of shape (draw axes, points, classes), without the draw axes if
        `average`.
    :raises ValueError: if sites differ in their draw axes, there are no draws, or
        `batch_ndims` or `batch_size` is not a positive whole number.
    :raises TypeError: if `fn` is not hashable.
    """
    batch_ndims = check_integer("batch_ndims", batch_ndims)
    batch_size = check_integer("batch_size", batch_size)
    try:
        hash(fn)
    except TypeError as e:
        raise TypeError(
            f"fn is a {type(fn).__name__}, which is not hashable. Wrap it in a plain "
            "function: lambda params, x: fn(params, x)."
        ) from e
    sites = dict(samples)
    head = _draw_axes(sites, batch_ndims)
    num = math.prod(head)
    flat = jax.tree.map(
        lambda v: jnp.reshape(v, (num, *jnp.shape(v)[batch_ndims:])), sites
    )
    out = _map_draws(fn, flat, x, min(batch_size, num), average)
    return out if average else jnp.reshape(out, (*head, *out.shape[1:]))


def _draw_axes(samples: Tree, batch_ndims: int) -> tuple[int, ...]:
    """
    Sizes of the draw axes, which all sites share.

    :raises ValueError: if they do not, or there are no draws.
    """
    heads = {
        jax.tree_util.keystr(path): jnp.shape(leaf)[:batch_ndims]
        for path, leaf in jax.tree_util.tree_leaves_with_path(samples)
    }
    if not heads:
        raise ValueError("samples holds no arrays.")
    head = next(iter(heads.values()))
    if len(set(heads.values())) > 1 or len(head) < batch_ndims:
        raise ValueError(
            f"the sites of samples must share their first {batch_ndims} axes (draws), "
            f"which are {heads}. Leave out entries that are not sites of the model, "
            "and set batch_ndims to 2 for draws of shape (chain, draw, ...)."
        )
    if math.prod(head) == 0:
        raise ValueError(f"samples holds no draws: their axes are {head}.")
    return head


@partial(jax.jit, static_argnums=(0, 3, 4))
def _map_draws(
    fn: Callable[[Tree, Any], jax.Array],
    samples: Tree,
    x: Any,
    batch_size: int,
    average: bool,
) -> jax.Array:
    """`fn` at every draw, along a leading axis, or its mean over draws."""

    def one(draw: Tree) -> jax.Array:
        return fn(draw, x)

    if not average:
        return jax.lax.map(one, samples, batch_size=batch_size)

    def total(start: Any, size: int) -> jax.Array:
        draws = jax.tree.map(
            lambda v: jax.lax.dynamic_slice_in_dim(v, start, size), samples
        )
        return jnp.sum(jax.vmap(one)(draws), axis=0)

    num = jax.tree.leaves(samples)[0].shape[0]
    batches, rest = divmod(num, batch_size)
    out = sum_of(lambda i: total(i * batch_size, batch_size), batches)
    if rest:
        out = out + total(num - rest, rest)
    return out / num
