# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How large a model is, and from which size on memory decides how it is computed.

In small models the number of operations counts: positions are packed in one vector, and
both halves of a minibatch are differentiated at once. In large ones every array of the
size of the parameters counts, in time as in memory.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["SMALL", "is_large", "size_of"]

SMALL = 20_000
"""Most coordinates of a small model."""


def size_of(tree: Any) -> int:
    """Number of coordinates."""
    return sum(math.prod(jnp.shape(x)) for x in jax.tree.leaves(tree))


def is_large(tree: Any) -> bool:
    """Whether a position is that of a large model."""
    return size_of(tree) > SMALL
