# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Where a model starts: unconstrained values from a strategy of NumPyro.

The default, `init_to_uniform`, is computed here: values uniform in `(-radius, radius)`,
drawn again until the potential and its gradient are finite. They are those of
`numpyro.infer.util.initialize_model`, whose random numbers take hundreds of operations
for each site: for the network of `examples/bnn_digits.py` these were a fifth of all
that is compiled before the first draw.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.util import initialize_model

from numpyro_pl.trees.arithmetic import Tree, all_finite
from numpyro_pl.trees.random_bits import is_single_key, split, uniforms

__all__ = ["first_position"]

MOST_TRIES = 100
"""Starts that are tried, as in NumPyro."""


def first_position(
    rng_key: jax.Array,
    model: Callable,
    data: tuple[tuple, dict],
    init_strategy: Callable,
    potential: Callable[[Tree], jax.Array],
) -> Tree:
    """
    Unconstrained initial values by site; a batch of them for a batch of keys.

    :param rng_key: a PRNG key, or a batch of them.
    :param model: a NumPyro model.
    :param data: its positional and keyword arguments.
    :param init_strategy: a strategy of NumPyro.
    :param potential: the potential at a position.
    """
    args, kwargs = data
    sites: list[str] = []

    def by_numpyro(rng_key):
        info = initialize_model(
            rng_key,
            model,
            init_strategy=init_strategy,
            dynamic_args=True,
            model_args=args,
            model_kwargs=kwargs,
        )
        z = info.param_info.z
        sites[:] = [name for name in info.model_trace if name in z]
        return z

    radius = _radius_of(init_strategy)
    if radius is None:
        return by_numpyro(rng_key)
    one = rng_key if is_single_key(rng_key) else rng_key[0]
    like = jax.eval_shape(by_numpyro, one)
    shapes = {name: like[name] for name in sites}
    return _uniform(rng_key, potential, shapes, radius)


def _radius_of(init_strategy: Callable) -> float | None:
    """The radius of an `init_to_uniform` strategy; None for any other strategy."""
    if init_strategy is init_to_uniform:
        init_strategy = init_to_uniform()
    if isinstance(init_strategy, partial) and init_strategy.func is init_to_uniform:
        return init_strategy.keywords.get("radius")
    return None


def _uniform(
    rng_key: jax.Array, potential: Callable, shapes: dict, radius: float
) -> Tree:
    """
    Uniform values by site; a batch of them for a batch of keys.

    :param potential: the potential at a position.
    :param dict shapes: shape and type of each site, in the order of the model.
    """
    if not is_single_key(rng_key):
        # One after the other: a large network has room for one gradient.
        one = partial(_uniform, potential=potential, shapes=shapes, radius=radius)
        return lax.map(one, rng_key)

    def attempt(state):
        number, rng_key, _, _ = state
        rng_key, key_site = split(rng_key)
        position = {}
        for name, like in shapes.items():
            position[name] = uniforms(key_site, like.shape, -radius, radius)
            rng_key, key_site = split(rng_key)
        finite = all_finite(jax.value_and_grad(potential)(position))
        return number + 1, rng_key, position, finite

    def unfinished(state):
        return (state[0] < MOST_TRIES) & ~state[3]

    nowhere = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
    first = jnp.asarray(0), rng_key, nowhere, jnp.asarray(False)
    return lax.while_loop(unfinished, attempt, first)[2]
