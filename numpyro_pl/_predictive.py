# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Predictions at every draw, without filling the memory."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["predictive_probabilities"]


def predictive_probabilities(
    fn: Callable[[Any, Any], jax.Array],
    samples: Mapping[str, Any],
    x: Any,
    *,
    batch_ndims: int = 1,
    batch_size: int = 32,
    average: bool = False,
) -> jax.Array:
    """
    Predictions of a function at every draw, or their mean over draws, with only
    `batch_size` draws worked on at a time.

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
        array, as of shape (points, classes). The compiled program is kept with the
        function: define it once, not anew for each call.
    :param dict samples: draws by site name, as `mcmc.get_samples()` returns them.
    :param x: inputs, passed to `fn` as they are.
    :param int batch_ndims: number of leading axes over draws: 1 for (draw, ...), 2 for
        (chain, draw, ...).
    :param int batch_size: draws evaluated together.
    :param bool average: whether to return the mean over all draws; only that mean and
        one batch are then ever held.
    :return: array of shape (draw axes, points, classes), or without the draw axes where
        `average`.
    :raises ValueError: where the sites differ in their draw axes.
    :raises TypeError: where `fn` is not hashable.
    """
    if batch_ndims < 1:
        raise ValueError(f"batch_ndims must be 1 or more, not {batch_ndims}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}.")
    try:
        hash(fn)
    except TypeError as e:
        raise TypeError(
            f"fn is a {type(fn).__name__}, which is not hashable. Wrap it in a plain "
            "function: lambda params, x: fn(params, x)."
        ) from e
    heads = {
        jax.tree_util.keystr(path): jnp.shape(leaf)[:batch_ndims]
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(samples))
    }
    if not heads:
        raise ValueError("samples holds no arrays.")
    head = next(iter(heads.values()))
    if len(set(heads.values())) > 1 or len(head) < batch_ndims:
        raise ValueError(
            f"the sites of samples must share their first {batch_ndims} axes (draws), "
            f"which are {heads}. Leave out what is no site of the model, and set "
            "batch_ndims to 2 for draws of shape (chain, draw, ...)."
        )
    num = math.prod(head)
    if num == 0:
        raise ValueError(f"samples holds no draws: their axes are {head}.")
    flat = jax.tree.map(
        lambda v: jnp.reshape(v, (num, *jnp.shape(v)[batch_ndims:])), dict(samples)
    )
    out = _map_draws(fn, flat, x, min(batch_size, num), average)
    return out if average else jnp.reshape(out, (*head, *out.shape[1:]))


@partial(jax.jit, static_argnums=(0, 3, 4))
def _map_draws(fn, samples, x, batch_size, average):
    if not average:
        return jax.lax.map(lambda draw: fn(draw, x), samples, batch_size=batch_size)

    def total(draws):
        return jnp.sum(jax.vmap(lambda draw: fn(draw, x))(draws), axis=0)

    num = jax.tree.leaves(samples)[0].shape[0]
    batches, rest = divmod(num, batch_size)
    split = batches * batch_size
    full = jax.tree.map(
        lambda v: v[:split].reshape(batches, batch_size, *v.shape[1:]), samples
    )
    like = jax.eval_shape(total, jax.tree.map(lambda v: v[0], full))
    out, _ = jax.lax.scan(
        lambda carry, draws: (carry + total(draws), None),
        jnp.zeros(like.shape, like.dtype),
        full,
    )
    if rest:
        out = out + total(jax.tree.map(lambda v: v[split:], samples))
    return out / num
