# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Where the arguments of a model lie. `MCMC` makes the arguments constants of its programs
unless told otherwise, and a constant is on every device as a whole. Arguments that are
split over devices therefore travel in the state of the chain. Chains are divided among
devices that hold the same rows.
"""

import weakref
from collections.abc import Hashable

import jax

from numpyro_pl.model.potential import Data
from numpyro_pl.model.sharding import Shards, shards_of
from numpyro_pl.trees.arithmetic import Tree, is_traced
from numpyro_pl.trees.random_bits import is_single_key

__all__ = [
    "Placements",
    "chains_after_draw",
    "chains_apart",
    "chains_together",
    "check_keys",
]


class Placements:
    """
    How arguments of each shape are split over devices, as a kernel has last seen them:
    within a compiled program nobody can tell.
    """

    def __init__(self) -> None:
        self._shards: dict[Hashable, Shards | None] = {}
        self._arrays: dict[Shards, list[weakref.ref]] = {}

    def of(self, data: Data, signature: Hashable) -> Shards | None:
        """
        How these arguments are split, None if they are not.

        :param Data data: the arguments.
        :param signature: their shapes.
        """
        if not is_traced(data):
            self._shards[signature] = shards_of(data)
        return self._shards.get(signature)

    def carried(self, shards: Shards | None, data: Data) -> tuple:
        """
        What the state of a chain is to carry of the arguments.

        :param Shards shards: how they are split, None if they are not.
        :param Data data: the arguments.
        """
        if shards is None or is_traced(data):
            return ()
        arrays = shards.split(data)
        self._arrays[shards] = [weakref.ref(x) for x in arrays]
        return tuple(arrays)

    def restored(self, shards: Shards | None, data: Data, carried: tuple) -> Data:
        """
        The arguments with the arrays that the state carries, where they would become
        constants.

        :param Shards shards: how they are split, None if they are not.
        :param Data data: the arguments.
        :param tuple carried: what the state carries.
        :raises ValueError: if the arguments are not those that the state carries.
        """
        if shards is None or not carried or is_traced(data):
            return data
        known = self._arrays.get(shards)
        arrays = shards.split(data)
        if known and any(r() is not x for r, x in zip(known, arrays, strict=True)):
            raise ValueError(
                "the state of this run holds other arrays than the arguments, which "
                "are split over devices. To go on from `post_warmup_state` with other "
                "data, use MCMC(..., jit_model_args=True) from the start."
            )
        return shards.joined(data, list(carried))


def chains_apart(shards: Shards | None, rng_keys: jax.Array, chains: Tree) -> Tree:
    """
    Vectorized chains, divided among the devices that hold the same rows.

    :param Shards shards: how rows are split, None if they are not.
    :param rng_keys: a PRNG key, or a batch of them for vectorized chains.
    :param chains: arrays of each of them.
    """
    if shards is None or is_single_key(rng_keys):
        return chains
    return shards.spread(chains, rng_keys.shape[0])


def chains_together(shards: Shards | None, rng_keys: jax.Array, chains: Tree) -> Tree:
    """
    Vectorized chains on every device.

    :param Shards shards: how rows are split, None if they are not.
    :param rng_keys: a PRNG key, or a batch of them for vectorized chains.
    :param chains: arrays of each of them.
    """
    if shards is None or is_single_key(rng_keys):
        return chains
    return shards.together(chains)


def chains_after_draw(shards: Shards | None, rng_keys: jax.Array, chains: Tree) -> Tree:
    """
    Vectorized chains as a run keeps them: divided, but of several processes each is to
    have all draws.

    :param Shards shards: how rows are split, None if they are not.
    :param rng_keys: a PRNG key, or a batch of them for vectorized chains.
    :param chains: arrays of each of them.
    """
    kept = chains_apart if jax.process_count() == 1 else chains_together
    return kept(shards, rng_keys, chains)


def check_keys(rng_key: jax.Array, data: Data) -> None:
    """
    Check that chains are not mapped over the devices of the data.

    :param rng_key: a PRNG key, traced where it is mapped over devices.
    :param Data data: the arguments.
    :raises ValueError: if they are.
    """
    if is_traced(rng_key) and not is_traced(data) and shards_of(data) is not None:
        raise ValueError(
            "the arguments are split over devices, and chains cannot be spread over "
            "the same ones by chain_method='parallel': use chain_method='vectorized', "
            "whose chains share each device."
        )
