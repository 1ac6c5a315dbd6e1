# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The subsampled plates of a model: where its minibatches come from."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.model.handlers import plate_arguments

__all__ = ["PlateSize", "PlateSizes"]


def _below(words: jax.Array, size: int) -> jax.Array:
    """
    Turn random words into random integers below `size`: the high word of
    `words * size`, in 16-bit pieces. This takes one random word per row;
    `random.randint` takes two or more. The probabilities of rows differ by at most a
    relative `size / 2^32`.
    """
    low, high = jnp.uint32(size & 0xFFFF), jnp.uint32(size >> 16)
    w_low, w_high = words & 0xFFFF, words >> 16
    middle = w_high * low + ((w_low * low) >> 16)
    carry = w_low * high + (middle & 0xFFFF)
    return (w_high * high + (middle >> 16) + (carry >> 16)).astype(int)


class PlateSize(NamedTuple):
    """
    Sizes of one subsampled plate, and its minibatches: arrays of row numbers whose last
    axis goes through the strata one after the other.

    - **size** - number of rows N.
    - **subsample_size** - number of rows B in a minibatch.
    - **strata** - number of equal parts of the rows, in their order, from each of which
      a minibatch takes as many rows as from every other.
    - **is_split** - whether each stratum is on a device of its own.
    """

    size: int
    subsample_size: int
    strata: int = 1
    is_split: bool = False

    @property
    def stratum_size(self) -> int:
        """Rows in one stratum."""
        return self.size // self.strata

    @property
    def share(self) -> int:
        """Rows of a minibatch from one stratum."""
        return self.subsample_size // self.strata

    @property
    def halved(self) -> float:
        """Share of a minibatch's rows that its two halves have."""
        return 2 * (self.share // 2) / self.share

    def of_strata(self, rows: jax.Array) -> jax.Array:
        """
        Rows of the whole plate from rows within each stratum.

        :param rows: numbers below `size / strata`, shape (..., strata, rows).
        """
        starts = self.stratum_size * jnp.arange(self.strata)[:, None]
        return (rows + starts).reshape(*rows.shape[:-2], -1)

    def drawn(self, words: jax.Array) -> jax.Array:
        """
        Minibatches drawn with replacement.

        :param words: random words, shape (..., B).
        """
        rows = _below(words, self.stratum_size)
        if self.strata == 1:
            return rows
        return self.of_strata(rows.reshape(*rows.shape[:-1], self.strata, -1))

    def first_rows(self, offset: int = 0) -> jax.Array:
        """A minibatch of the first rows of each stratum, from row `offset` on."""
        rows = (jnp.arange(self.share) + offset) % self.stratum_size
        return self.of_strata(jnp.broadcast_to(rows, (self.strata, self.share)))

    def parts(self, rows: jax.Array, num: int) -> jax.Array:
        """
        Split minibatches in equal parts, with as many rows of each stratum as the
        number of parts divides.

        :param rows: row numbers, shape (..., B).
        :param int num: number of parts.
        :return: shape (num, rows).
        """
        by_stratum = rows.reshape(-1, self.strata, rows.shape[-1] // self.strata)
        flat = jnp.moveaxis(by_stratum, 1, 0).reshape(self.strata, -1)
        split = flat[:, : flat.shape[1] // num * num].reshape(self.strata, num, -1)
        return jnp.moveaxis(split, 0, 1).reshape(num, -1)


class PlateSizes(dict):
    """Subsampled plates of a model: `{plate_name: PlateSize}`."""

    @classmethod
    def of(cls, model: Callable, *args, **kwargs) -> "PlateSizes":
        """
        The subsampled plates of a model, which is run once without arithmetic.

        :param model: a NumPyro model.
        :param args: positional arguments of the model.
        :param kwargs: keyword arguments of the model.
        :raises ValueError: if `subsample_size` is 1 or larger than the plate, or if the
            length of an array differs from that of its plate.
        """
        try:
            found = plate_arguments(model, args, kwargs)
        except ValueError as error:
            if "numpyro.subsample" not in str(error):
                raise
            message = str(error).splitlines()[0]
            raise ValueError(
                f"{message}. Every array under a subsampled plate needs the plate's "
                "length along the plate's dimension: check the lengths of the model's "
                "arguments and the event_dim of numpyro.subsample."
            ) from error
        plates = cls()
        for name, (size, subsample_size) in found.items():
            if subsample_size is None or subsample_size == size:
                continue
            _check_sizes(name, size, subsample_size)
            plates[name] = PlateSize(int(size), int(subsample_size))
        return plates

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches in one pass over the largest plate (relative to its batch)."""
        return max((-(-p.size // p.subsample_size) for p in self.values()), default=1)


def _check_sizes(name: str, size: int, subsample_size: int) -> None:
    if subsample_size > size:
        raise ValueError(
            f"plate '{name}' has subsample_size={subsample_size}, more than its size "
            f"{size}. Lower subsample_size to at most {size}; without subsample_size "
            "the whole data is used at each step."
        )
    if subsample_size < 2:
        raise ValueError(
            f"plate '{name}' has subsample_size={subsample_size}. The spread of the "
            "minibatch noise is measured within each minibatch, which takes at least 2 "
            "rows; 32 to 512 are usual."
        )
