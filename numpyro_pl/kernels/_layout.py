# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Between the position as the model names it, a tree, and the groups that the dynamics
move.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl._sizes import SMALL

__all__ = ["Layout", "leaf_names"]

Tree = Any


def leaf_names(position: Tree) -> list[str]:
    """
    Names of the leaves of a position, in their order: for a model, of its sites.

    :param position: a tree of arrays.
    """

    def name(key) -> str:
        for field in ("key", "name", "idx"):
            if hasattr(key, field):
                return str(getattr(key, field))
        return str(key)

    paths = jax.tree_util.tree_flatten_with_path(position)[0]
    return [".".join(name(key) for key in path) for path, _ in paths]


class Layout:
    """
    Groups of the leaves of a position.

    A small group becomes one vector: fewer operations a step, and a third of the
    compilation time. A large one stays a tuple of leaves: there, taking a vector apart
    costs a pass over memory.

    :param position: a tree of arrays.
    :param groups: number of the group of each leaf.
    :param per_coordinate: for each group, whether step sizes and noise variances have
        an entry for each coordinate (else one for the group).
    """

    def __init__(
        self, position: Tree, groups: Sequence[int], per_coordinate: Sequence[bool]
    ):
        leaves, self._treedef = jax.tree.flatten(position)
        self._shapes = [x.shape for x in leaves]
        self._per_coordinate = list(per_coordinate)
        self._members = [
            [i for i, k in enumerate(groups) if k == group]
            for group in range(len(self._per_coordinate))
        ]
        self.sizes = [sum(math.prod(self._shapes[i]) for i in m) for m in self._members]
        self._packed = [
            size <= SMALL and len(m) > 1 and len({leaves[i].dtype for i in m}) == 1
            for size, m in zip(self.sizes, self._members, strict=True)
        ]

    def _pack(self, k: int, leaves: list) -> Tree:
        chosen = [leaves[i] for i in self._members[k]]
        if self._packed[k]:
            return jnp.concatenate([x.reshape(-1) for x in chosen])
        return tuple(chosen)

    def _unpack(self, k: int, group: Tree) -> Sequence[jax.Array]:
        if not self._packed[k]:
            return group
        shapes = [self._shapes[i] for i in self._members[k]]
        ends = list(itertools.accumulate(math.prod(s) for s in shapes))
        return [
            group[end - math.prod(s) : end].reshape(s)
            for end, s in zip(ends, shapes, strict=True)
        ]

    def _tree(self, groups: Sequence[Sequence[jax.Array]]) -> Tree:
        leaves: list[Any] = [None] * len(self._shapes)
        for m, group in zip(self._members, groups, strict=True):
            for i, leaf in zip(m, group, strict=True):
                leaves[i] = leaf
        return jax.tree.unflatten(self._treedef, leaves)

    def pack(self, tree: Tree) -> tuple:
        """A tree like the position, by group."""
        leaves = jax.tree.leaves(tree)
        return tuple(self._pack(k, leaves) for k in range(len(self._members)))

    def unpack(self, groups: tuple) -> Tree:
        """Back to a tree like the position."""
        return self._tree([self._unpack(k, g) for k, g in enumerate(groups)])

    def pack_scales(self, tree: Tree) -> tuple:
        """Step sizes or noise variances, by group."""
        leaves = jax.tree.leaves(tree)
        return tuple(
            self._pack(k, leaves) if per else leaves[self._members[k][0]]
            for k, per in enumerate(self._per_coordinate)
        )

    def unpack_scales(self, groups: tuple) -> Tree:
        """Back to a tree like the position, one value to every leaf of its group."""
        return self._tree(
            [
                self._unpack(k, g) if per else [g] * len(self._members[k])
                for k, (per, g) in enumerate(
                    zip(self._per_coordinate, groups, strict=True)
                )
            ]
        )

    def constant_scales(self, position: Tree, value: float) -> Tree:
        """Step sizes or noise variances that are all `value`."""
        full = jax.tree.map(lambda x: jnp.full_like(x, value), self.pack(position))
        scalar = jnp.asarray(value, jnp.result_type(*jax.tree.leaves(position)))
        return self.unpack_scales(
            tuple(
                g if per else scalar
                for per, g in zip(self._per_coordinate, full, strict=True)
            )
        )
