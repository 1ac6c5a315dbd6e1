# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The stored reference of NUTS for the digits example."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["REFERENCE", "Reference", "reference"]

REFERENCE = Path(__file__).parent / "digits_reference.npz"
"""What NUTS gave, from `tests/benchmarks/digits_reference.py`."""


class Reference(NamedTuple):
    """
    - **probs** - mean probabilities of the test images, of shape (images, classes).
    - **potential** - mean potential, in nats.
    - **potential_sd** - its standard deviation.
    """

    probs: np.ndarray
    potential: float
    potential_sd: float


def reference() -> Reference:
    """The stored reference."""
    with np.load(REFERENCE) as stored:
        return Reference(*(stored[name] for name in Reference._fields))
