# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Data that is split over devices: computation follows it.

An array that the user has placed with `jax.device_put(x, NamedSharding(mesh,
P("data")))` stays where it is. The model runs once on each device, on the rows there,
and what it returns is averaged: each run has the prior, and its rows stand for those of
all devices. Positions, random numbers and the numbers of the rows are the same on every
device; each device takes its own rows from them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from numpyro_pl.model.indices import Indices, Rows
from numpyro_pl.trees.arithmetic import Tree, arrays_apart, is_array, is_traced

__all__ = ["Shards", "local_values", "shards_of"]


class Shards(NamedTuple):
    """
    How the arguments of a model are split over devices.

    - **mesh** - the devices.
    - **axis** - name of the axis of the mesh along which rows are split, or several.
    - **axes** - for each leaf of the arguments, its axis that is split; None for a leaf
      that every device has as a whole.
    """

    mesh: Mesh
    axis: str | tuple[str, ...]
    axes: tuple[int | None, ...]

    @property
    def num(self) -> int:
        """Number of parts."""
        names = (self.axis,) if isinstance(self.axis, str) else self.axis
        return int(np.prod([self.mesh.shape[name] for name in names]))

    @property
    def free(self) -> tuple[str, ...]:
        """Axes of the mesh along which no rows are split."""
        names = (self.axis,) if isinstance(self.axis, str) else self.axis
        return tuple(name for name in self.mesh.axis_names if name not in names)

    def spread(self, chains: Tree, num: int) -> Tree:
        """
        Chains, divided among the devices that hold the same rows: each device computes
        its own share of them. All on every device if those do not divide their number.

        :param chains: arrays with a leading axis of chains.
        :param int num: number of chains.
        """
        places = int(np.prod([self.mesh.shape[name] for name in self.free]))
        return chains if places == 1 or num % places else self._at(chains, self.free)

    def together(self, chains: Tree) -> Tree:
        """Chains, all of them on every device again."""
        return self._at(chains) if self.free else chains

    def _at(self, arrays: Tree, *spec) -> Tree:
        where = NamedSharding(self.mesh, PartitionSpec(*spec))
        return lax.with_sharding_constraint(arrays, where)

    def mean(self, fn: Callable, data: Tree, *others: Tree) -> Tree:
        """
        Mean over the parts of `fn(part, *others)`. Derivatives can be taken of it.

        :param fn: function of the arguments with the rows of one part.
        :param data: the arguments.
        :param others: arrays that are the same for all parts.
        """

        def averaged(part, *others):
            return lax.pmean(fn(part, *others), self.axis)

        return self._mapped(averaged, data, *others)

    def excerpt(self, data: Tree, rows: int) -> Tree:
        """
        The arguments with the first rows of each part only, on every device.

        :param data: the arguments.
        :param int rows: number of rows of each part.
        """

        def first(part):
            found = []
            for x, axis in zip(self.split(part), self.split_axes, strict=True):
                x = lax.slice_in_dim(x, 0, rows, axis=axis)
                found.append(lax.all_gather(x, self.axis, axis=axis, tiled=True))
            return found

        return self.joined(data, self._mapped(first, data))

    def blank(self, data: Tree, rows: int) -> Tree:
        """
        The arguments with zeros in place of what is split, for a function of their
        shapes.

        :param data: the arguments.
        :param int rows: number of rows.
        """

        def zeros(x, axis):
            shape = list(x.shape)
            shape[axis] = rows
            return jnp.zeros(shape, x.dtype)

        return self.joined(data, list(map(zeros, self.split(data), self.split_axes)))

    @property
    def split_axes(self) -> list[int]:
        """Axes of the arrays that are split, without the other leaves."""
        return [a for a in self.axes if a is not None]

    def split(self, data: Tree) -> list:
        """The arrays of the arguments that are split."""
        leaves = jax.tree.leaves(data)
        return [x for x, a in zip(leaves, self.axes, strict=True) if a is not None]

    def joined(self, data: Tree, arrays: list) -> Tree:
        """The arguments with other arrays in place of those that are split."""
        leaves, treedef = jax.tree.flatten(data)
        new = iter(arrays)
        leaves = [
            x if a is None else next(new)
            for x, a in zip(leaves, self.axes, strict=True)
        ]
        return jax.tree.unflatten(treedef, leaves)

    def _mapped(self, fn: Callable, data: Tree, *others: Tree) -> Tree:
        """`fn(part, *others)` for each part of the data, the same for all of them."""
        names = {self.axis} if isinstance(self.axis, str) else set(self.axis)
        arrays, with_arrays = arrays_apart(data)

        def run(arrays, others):
            return fn(with_arrays(arrays), *others)

        def spec(axis):
            parts = () if axis is None else (*[None] * axis, self.axis)
            return PartitionSpec(*parts)

        # All arrays are passed, because those of a mesh with explicit axes cannot be
        # held by the function.
        axes = zip(jax.tree.leaves(data), self.axes, strict=True)
        specs = [spec(axis) for x, axis in axes if is_array(x)]
        # Not checked, because that would ask of a model's own loops that they tell
        # values that differ between devices from others.
        mapped = jax.shard_map(
            run,
            mesh=self.mesh,
            in_specs=(specs, PartitionSpec()),
            out_specs=PartitionSpec(),
            axis_names=names,
            check_vma=False,
        )
        return mapped(arrays, others)

    def local_rows(
        self, indices: Indices | None, sizes: dict[str, int]
    ) -> dict[str, Any]:
        """
        The rows of the part on this device, by plate; inside :meth:`mean`.

        :param indices: rows by plate, those of the first part first; None for all rows.
        :param dict sizes: sizes of the plates whose rows are split.
        """
        found = dict(indices or {})
        part = lax.axis_index(self.axis)
        for name, size in sizes.items():
            here = size // self.num
            if indices is None:
                found[name] = Rows(jnp.arange(here), None, size)
                continue
            rows = found[name]
            rows = rows if isinstance(rows, Rows) else Rows(rows)
            num = rows.numbers.shape[0] // self.num

            def of_part(x, num=num):
                return lax.dynamic_slice_in_dim(x, part * num, num)

            weights = None if rows.weights is None else of_part(rows.weights)
            found[name] = Rows(of_part(rows.numbers) - part * here, weights, size)
        return found


def shards_of(data: Tree) -> Shards | None:
    """
    How the user has split the arguments of a model; None if no argument is.

    :param data: the arguments, concrete arrays.
    :raises ValueError: if they are split over different devices or along different axes
        of a mesh, or one of them along several axes.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(data)
    axes: list[int | None] = []
    first: tuple[str, Mesh, Any] | None = None
    for path, leaf in paths:
        axis, name = _split_axis(path, leaf)
        axes.append(axis)
        if axis is None:
            continue
        label = label_of(path)
        if first is None:
            first = label, leaf.sharding.mesh, name
        elif first[1:] != (leaf.sharding.mesh, name):
            raise ValueError(
                f"argument {label} is split along {name!r} of {_shown(leaf)}, but "
                f"argument {first[0]} along {first[2]!r} of {_shown_mesh(first[1])}: "
                "their rows do not lie on the same devices. Place all arrays of rows "
                "with one NamedSharding(mesh, PartitionSpec(name))."
            )
    if first is None:
        return None
    found = Shards(first[1], first[2], tuple(axes))
    _check_free(found)
    return found


def _check_free(shards: Shards) -> None:
    """:raises ValueError: if chains cannot be divided along the other axes."""
    kinds = dict(zip(shards.mesh.axis_names, shards.mesh.axis_types, strict=True))
    if any(kinds[name] != AxisType.Auto for name in shards.free):
        raise ValueError(
            f"the axes {shards.free} of {_shown_mesh(shards.mesh)}, along which no "
            "rows are split, are not automatic: make the mesh with "
            "jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,) * "
            f"{len(kinds)})."
        )


def _split_axis(path, leaf: Any) -> tuple[int | None, Any]:
    """Which axis of an argument is split, and along what; None, None for none."""
    if not isinstance(leaf, jax.Array) or is_traced(leaf):
        return None, None
    sharding = leaf.sharding
    if not isinstance(sharding, NamedSharding):
        return None, None
    split = [
        (i, name) for i, name in enumerate(sharding.spec) if name not in (None, ())
    ]
    if not split:
        return None, None
    if len(split) > 1:
        raise ValueError(
            f"argument {label_of(path)} is split along several of its axes "
            f"({sharding.spec}): split rows only, PartitionSpec(name)."
        )
    ((axis, name),) = split
    if isinstance(name, tuple) and len(name) == 1:
        (name,) = name
    return axis, name


def label_of(path) -> str:
    """The name of an argument in messages, from its path in (args, kwargs)."""
    rest = jax.tree_util.keystr(path[1:]).strip("[]'\"")
    return rest if path[0].idx == 0 else repr(rest)


def _shown(leaf: jax.Array) -> str:
    return _shown_mesh(leaf.sharding.mesh)  # type: ignore[attr-defined]


def _shown_mesh(mesh: Mesh) -> str:
    ids = [device.id for device in mesh.devices.flat]
    return f"a mesh {dict(mesh.shape)} of the devices {ids}"


def local_values(x: Any) -> np.ndarray:
    """
    Values of an array on this host: all of them or, of an array that is split over
    processes, those of its first part here.

    :param x: a concrete array.
    """
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return np.asarray(x.addressable_shards[0].data)
    return np.asarray(x)
