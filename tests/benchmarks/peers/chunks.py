# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What samplers hand over while they run."""

from typing import Any, NamedTuple


class Chunk(NamedTuple):
    """
    Some draws of all chains.

    - **draws** - weights by site, of shape (chain, draw, ...); None while a sampler is
      in a warmup of its own.
    - **passes** - gradients of a chain so far, in passes over the data.
    """

    draws: Any
    passes: float
