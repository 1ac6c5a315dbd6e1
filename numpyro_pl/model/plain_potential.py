# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A potential energy that has neither a model nor rows."""

from collections.abc import Callable

import jax

from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import Tree

__all__ = ["PlainPotential", "as_it_is"]


class PlainPotential:
    """
    A potential energy that the user gives as a function of the position alone, with the
    methods of a :class:`MinibatchPotential` without plates.

    :param potential_fn: function from a tree of arrays to a scalar, in nats.
    """

    def __init__(self, potential_fn: Callable[[Tree], jax.Array]):
        self.plates = PlateSizes()
        self.shards = None
        self._potential_fn = potential_fn

    def __call__(self, position: Tree, indices, args, kwargs):
        """The potential; it has neither rows nor arguments."""
        return self._potential_fn(position)

    def full(self, position: Tree, args, kwargs):
        """The potential."""
        return self._potential_fn(position)

    def mean_over_data(self, fn: Callable[[None], Tree], large: bool) -> Tree:
        """What `fn` returns: there are no minibatches."""
        return fn(None)

    def full_value_and_grad(self, position: Tree, args, kwargs):
        """The potential and its gradient."""
        return jax.value_and_grad(self._potential_fn)(position)

    def estimate(self, rng_key, position: Tree, args, kwargs):
        """The potential: there is no minibatch to estimate it from."""
        return self._potential_fn(position)

    def first_position(self, rng_key, data: Data, init_strategy: Callable):
        """:raises ValueError: always: a plain function does not say where to start."""
        raise ValueError(
            "init_params must be given with `potential_fn`: "
            "mcmc.run(key, init_params=...)."
        )

    def constrain_fn(self, data: Data, skip=()) -> Callable[[Tree], Tree]:
        """The identity: draws stay as they are."""
        return as_it_is


def as_it_is(position: Tree) -> Tree:
    """The same tree, for draws that need no constraining."""
    return position
