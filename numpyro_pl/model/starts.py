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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax, random
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.util import initialize_model

from numpyro_pl.trees.arithmetic import Tree, all_finite
from numpyro_pl.trees.random_bits import is_single_key, split, uniforms

__all__ = ["UniformStarts", "first_position", "radius_of"]

MOST_TRIES = 100
"""Starts that are tried, as in NumPyro."""


class UniformStarts(NamedTuple):
    """
    The starts of NumPyro's `init_to_uniform`: independent uniform values between
    `-radius` and `radius`, drawn again until one will do.

    - **shapes** - shape and type of each site, in the order of the model.
    - **radius** - bound on the values.
    """

    shapes: dict[str, Any]
    radius: float

    @classmethod
    def of(
        cls, model: Callable, data: tuple[tuple, dict], init_strategy: Callable
    ) -> "UniformStarts":
        """
        Those of a model.

        :param model: a NumPyro model.
        :param data: its positional and keyword arguments.
        :param init_strategy: an `init_to_uniform` strategy.
        """
        radius = radius_of(init_strategy)
        assert radius is not None
        order: list[str] = []

        def values():
            z, names = _by_numpyro(random.key(0), model, data, init_strategy)
            order[:] = names
            return z

        like = jax.eval_shape(values)
        return cls({name: like[name] for name in order}, radius)

    def draw(self, rng_key: jax.Array) -> tuple[jax.Array, Tree]:
        """
        A start, and the key for the next one.

        :param rng_key: a PRNG key.
        """
        shapes = [like.shape for like in self.shapes.values()]
        # Two keys at a time, as NumPyro does it; the last one is not used.
        keys: jax.Array
        rng_key, keys = lax.scan(
            lambda key, _: tuple(split(key)), rng_key, length=len(shapes) + 1
        )
        values = uniforms(keys[:-1], shapes, -self.radius, self.radius)
        return rng_key, dict(zip(self.shapes, values, strict=True))

    def search(self, rng_key: jax.Array, potential: Callable[[Tree], Any]) -> Tree:
        """
        The first start where potential and gradient are finite; the last one tried, if
        they are nowhere.

        :param rng_key: a PRNG key.
        :param potential: the potential at a position.
        """

        def attempt(state):
            rng_key, position = self.draw(state[1])
            finite = all_finite(jax.value_and_grad(potential)(position))
            return state[0] + 1, rng_key, position, finite

        def unfinished(state):
            return (state[0] < MOST_TRIES) & ~state[3]

        nowhere = {n: jnp.zeros(x.shape, x.dtype) for n, x in self.shapes.items()}
        first = jnp.asarray(0), rng_key, nowhere, jnp.asarray(False)
        return lax.while_loop(unfinished, attempt, first)[2]


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
    if radius_of(init_strategy) is None:
        return _by_numpyro(rng_key, model, data, init_strategy)[0]
    starts = UniformStarts.of(model, data, init_strategy)
    one = partial(starts.search, potential=potential)
    # One after the other: a large network has room for one gradient.
    return one(rng_key) if is_single_key(rng_key) else lax.map(one, rng_key)


def radius_of(init_strategy: Callable) -> float | None:
    """The radius of an `init_to_uniform` strategy; None for any other strategy."""
    if init_strategy is init_to_uniform:
        init_strategy = init_to_uniform()
    if isinstance(init_strategy, partial) and init_strategy.func is init_to_uniform:
        return init_strategy.keywords.get("radius")
    return None


def _by_numpyro(
    rng_key: jax.Array, model: Callable, data: tuple[tuple, dict], init_strategy
) -> tuple[Tree, list[str]]:
    """Initial values as NumPyro finds them, and its sites in the order of the model."""
    args, kwargs = data
    info = initialize_model(
        rng_key,
        model,
        init_strategy=init_strategy,
        dynamic_args=True,
        model_args=args,
        model_kwargs=kwargs,
    )
    z = info.param_info.z
    return z, [name for name in info.model_trace if name in z]
