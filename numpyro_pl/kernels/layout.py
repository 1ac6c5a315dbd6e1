# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Conversion between a position, a tree of the model's sites, and the groups that the
dynamics move.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from numpyro_pl.trees.arithmetic import SMALL, Tree

__all__ = ["Layout", "SlowLayout", "WhitenedLayout"]


class Layout:
    """
    Groups of the leaves of a position.

    A small group becomes one vector: fewer operations per step, and a third of the
    compilation time. A large one stays a tuple of leaves, because splitting a large
    vector costs a pass over memory.

    Gradients are taken through :meth:`unpack`, never packed afterwards, so they are
    always in the groups' own coordinates.

    - **size** - number of coordinates.
    - **sizes** - number of coordinates of each group: a number if there is one group.

    :param position: a tree of arrays.
    :param groups: number of the group of each leaf, from 0.
    :param bool vectors: whether every group becomes a vector, whatever its size.
    """

    def __init__(self, position: Tree, groups: Sequence[int], vectors: bool = False):
        leaves, self._treedef = jax.tree.flatten(position)
        self._shapes = [x.shape for x in leaves]
        self._members = [
            [i for i, k in enumerate(groups) if k == group]
            for group in range(max(groups, default=-1) + 1)
        ]
        sizes = [sum(math.prod(self._shapes[i]) for i in m) for m in self._members]
        self.size = sum(sizes)
        self.sizes = float(sizes[0]) if len(sizes) == 1 else np.array(sizes, float)
        self._packed = [
            vectors
            or (size <= SMALL and len(m) > 1 and len({leaves[i].dtype for i in m}) == 1)
            for size, m in zip(sizes, self._members, strict=True)
        ]

    def pack(self, tree: Tree) -> tuple:
        """A tree like the position, by group."""
        leaves = jax.tree.leaves(tree)
        return tuple(self._pack(k, leaves) for k in range(len(self._members)))

    def unpack(self, groups: tuple) -> Tree:
        """Back to a tree like the position."""
        leaves: list[Any] = [None] * len(self._shapes)
        for k, members in enumerate(self._members):
            for i, leaf in zip(members, self._unpack(k, groups[k]), strict=True):
                leaves[i] = leaf
        return jax.tree.unflatten(self._treedef, leaves)

    def _pack(self, k: int, leaves: list) -> Tree:
        chosen = [leaves[i] for i in self._members[k]]
        if self._packed[k]:
            return jnp.concatenate([x.reshape(-1) for x in chosen])
        return tuple(chosen)

    def _unpack(self, k: int, group: Tree) -> Sequence[jax.Array]:
        if not self._packed[k]:
            return group
        shapes = [self._shapes[i] for i in self._members[k]]
        # The derivative of a split is one concatenation; that of slices is a sum of
        # padded arrays.
        parts = lax.split(group, [math.prod(s) for s in shapes])
        return [x.reshape(s) for x, s in zip(parts, shapes, strict=True)]


class WhitenedLayout:
    """
    A layout whose only group is a vector of whitened coordinates y: the model's are
    `center + basis @ y`.

    :param Layout layout: the layout in the model's coordinates, with one vector.
    :param center: the model's coordinates at y = 0, shape (n,).
    :param basis: shape (n, n).
    :param inverse: its inverse.
    """

    def __init__(
        self,
        layout: Layout,
        center: jax.Array,
        basis: jax.Array,
        inverse: jax.Array,
    ):
        self._layout = layout
        self._center, self._basis, self._inverse = center, basis, inverse
        self.size, self.sizes = layout.size, layout.sizes

    def pack(self, tree: Tree) -> tuple:
        """A tree like the position, in whitened coordinates."""
        (x,) = self._layout.pack(tree)
        return (self._inverse @ (x - self._center),)

    def unpack(self, groups: tuple) -> Tree:
        """Back to a tree like the position."""
        return self._layout.unpack((self._center + self._basis @ groups[0],))


class SlowLayout:
    """
    A layout whose only group is a vector of coordinates c along the slow directions
    from a position on: the model's are `origin + c @ vectors`.

    :param Layout layout: the layout in the model's coordinates, with one vector.
    :param origin: the model's coordinates at c = 0, shape (n,).
    :param vectors: shape (directions, n).
    """

    def __init__(self, layout: Layout, origin: jax.Array, vectors: jax.Array):
        self._layout, self._origin, self._vectors = layout, origin, vectors
        self.size = vectors.shape[0]
        self.sizes = float(self.size)

    def unpack(self, groups: tuple) -> Tree:
        """The position at these coordinates."""
        return self._layout.unpack((self._origin + groups[0] @ self._vectors,))
