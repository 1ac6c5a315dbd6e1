# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The subsampled plates of a model: where its minibatches come from."""

from collections.abc import Callable
from typing import NamedTuple

from numpyro_pl.model.handlers import plate_arguments

__all__ = ["PlateSize", "PlateSizes"]


class PlateSize(NamedTuple):
    """
    Sizes of one subsampled plate.

    - **size** - number of rows N.
    - **subsample_size** - number of rows B in a minibatch.
    """

    size: int
    subsample_size: int


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
