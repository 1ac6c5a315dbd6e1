# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Which rows of its plates a model is to run on, in words that it can be told."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

__all__ = ["INDICES_KWARG", "Indices", "Rows"]

INDICES_KWARG = "_numpyro_pl_indices"
"""Reserved model keyword through which plate indices travel."""


class Rows(NamedTuple):
    """
    Rows of a plate that the model is to run on.

    - **numbers** - the numbers of the rows, shape (rows,).
    - **weights** - factors on their log probabilities, shape (rows,); may be negative.
      None: ones.
    - **size** - number of rows that the plate stands for if the model sees only some of
      them, and therefore states a smaller one; None: what the model states.
    - **read** - the rows of each stream among the model's arguments, if they were read
      already: see :func:`~numpyro_pl.model.streams.read_rows`.
    """

    numbers: jax.Array
    weights: jax.Array | None = None
    size: int | None = None
    read: tuple | None = None


Indices = Mapping[str, jax.Array | Rows]
"""By plate, the numbers of the rows that the model is to run on."""
