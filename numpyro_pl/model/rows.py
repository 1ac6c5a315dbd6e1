# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The rows of a model's data, a batch of them at a time and in their order."""

import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from numpyro_pl.model.handlers import IndexedModel, plate_arguments
from numpyro_pl.model.indices import INDICES_KWARG
from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import is_array

__all__ = ["RowBatches"]


class RowBatches:
    """
    A model run on a batch of its rows. A subsampled plate is given the rows of a batch,
    as in sampling. Where none is subsampled, arguments whose first axis is as long as
    the largest plate are cut. All batches are equally long, the last one is filled with
    its last row. Models with several subsampled plates, or with none and no such
    argument, are run on all rows at once.

    :param model: a NumPyro model.
    :param Data data: its arguments.
    :param batch_size: most rows in a batch; None for all rows.
    """

    def __init__(self, model: Callable, data: Data, batch_size: int | None):
        args, kwargs = data
        plates = plate_arguments(model, args, kwargs)
        chosen = {
            n: size for n, (size, sub) in plates.items() if sub not in (None, size)
        }
        self.model = IndexedModel(model)
        self.data = data
        self._subsampled = bool(chosen)
        largest = max((size for size, _ in plates.values()), default=1)
        self.plates = chosen or {
            n: size for n, (size, _) in plates.items() if size == largest
        }
        """Sizes of the plates of the rows, by name."""
        self.size = max(self.plates.values(), default=1)
        leaves = jax.tree.leaves(data)
        one = len(chosen) == 1 or (not chosen and any(map(self._is_cut, leaves)))
        self.batch = min(batch_size or self.size, self.size) if one else self.size

    def __len__(self) -> int:
        return math.ceil(self.size / self.batch)

    def _is_cut(self, x) -> bool:
        return is_array(x) and x.ndim > 0 and x.shape[0] == self.size

    def rows(self, number: int) -> slice:
        """The rows of a batch."""
        start = number * self.batch
        return slice(start, min(start + self.batch, self.size))

    def data_of(self, number: int) -> Data:
        """The arguments with which to call :attr:`model` for a batch."""
        if len(self) == 1:
            return self.data
        index = jnp.minimum(number * self.batch + jnp.arange(self.batch), self.size - 1)
        args, kwargs = self.data
        if self._subsampled:
            (plate,) = self.plates
            return args, {**kwargs, INDICES_KWARG: {plate: index}}
        cut = jax.tree.map(lambda x: x[index] if self._is_cut(x) else x, self.data)
        return cut[0], cut[1]

    def __iter__(self) -> Iterator[tuple[slice, Data]]:
        for number in range(len(self)):
            yield self.rows(number), self.data_of(number)
