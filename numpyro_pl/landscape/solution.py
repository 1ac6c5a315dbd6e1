# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A trained solution: what every criterion is computed from."""

import operator
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from numpyro_pl.landscape.loss import CHUNK_SIZE, Loss, Problem
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.checks import check_integer

__all__ = ["Solution"]


@dataclass(frozen=True, eq=False)
class Solution:
    """
    A trained solution: its loss, parameters and data. All three are checked here, by
    their shapes, without evaluating the loss.

    :param per_example_loss: function of (params, data) that returns the loss of each
        example, shape (m,). It is called on any number of rows of the data.
    :param params: tree of real floating-point arrays, the solution w. It need not be a
        minimum.
    :param data: tree of arrays with m examples along the leading axis.
    :param int chunk_size: examples evaluated at a time: bounds memory, not accuracy.
    :raises ValueError: if `params` or `data` have wrong shapes or types, or the loss
        does not return one value for each example.
    """

    per_example_loss: Loss
    params: Tree = field(repr=False)
    data: Tree = field(repr=False)
    chunk_size: int = CHUNK_SIZE

    def __post_init__(self):
        check_integer("chunk_size", self.chunk_size)
        _check_params(self.params)
        _check_data(self.data)
        _check_loss(self.per_example_loss, self.params, self.data)

    @property
    def num_examples(self) -> int:
        """The number m of examples."""
        return jnp.shape(jax.tree.leaves(self.data)[0])[0]

    def check_count(self, k: int, num_next: int = 1) -> int:
        """
        Return `k` as an int.

        :param int k: examples in the mean.
        :param int num_next: examples needed after them.
        :raises ValueError: unless `1 <= k <= m - num_next`.
        """
        k, most = operator.index(k), self.num_examples - num_next
        if not 1 <= k <= most:
            raise ValueError(
                f"k={k} is outside the data: there are {self.num_examples} examples, "
                f"and k must leave {num_next} to add, so 1 <= k <= {most}."
            )
        return k

    def first(
        self, k: int, order: jax.Array | None = None, num_next: int = 1
    ) -> Problem:
        """
        The mean loss over the first k examples.

        :param int k: examples in the mean.
        :param order: permutation of the examples; by default the order of the data.
        :param int num_next: examples needed after the first k.
        :raises ValueError: if there are too few examples.
        """
        if order is None:
            order = jnp.arange(self.num_examples)
        return Problem(
            _as_pytree(self.per_example_loss),
            self.params,
            self.data,
            order,
            self.check_count(k, num_next),
            self.chunk_size,
        )


def _as_pytree(per_example_loss: Loss) -> Loss:
    """
    The loss as a pytree, so that jitted functions take it as an argument. The arrays of
    a :class:`~numpyro_pl.model.per_example.ModelLoss` are then arguments too, not
    constants of the program.
    """
    if all(x is not per_example_loss for x in jax.tree.leaves(per_example_loss)):
        return per_example_loss
    return jax.tree_util.Partial(per_example_loss)


def _is_real(x) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _check_params(params: Tree) -> None:
    leaves = jax.tree.leaves(params)
    if not leaves or not all(_is_real(x) for x in leaves):
        raise ValueError(
            "params must be a tree of real floating-point arrays, with at least one. "
            "Split off integers, keys and functions first (flax.nnx.split, "
            "equinox.partition)."
        )


def _check_data(data: Tree) -> None:
    shapes = [jnp.shape(x) for x in jax.tree.leaves(data)]
    if not shapes or any(not s for s in shapes) or len({s[0] for s in shapes}) > 1:
        raise ValueError(
            "each array of data must have the examples along its leading axis, all the "
            f"same number of them; got shapes {shapes}."
        )


def _check_loss(per_example_loss: Loss, params: Tree, data: Tree) -> None:
    # Three rows distinguish a value per example from a scalar and a mean kept as (1,).
    rows = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((3, *jnp.shape(x)[1:]), jnp.result_type(x)), data
    )
    out = jax.eval_shape(per_example_loss, params, rows)
    if getattr(out, "shape", None) != (3,) or not _is_real(out):
        raise ValueError(
            "per_example_loss(params, data) must return one real value for each "
            f"example, shape (m,); for m = 3 examples it returned {out}. Leave out the "
            "mean over examples; sum over the other axes."
        )
