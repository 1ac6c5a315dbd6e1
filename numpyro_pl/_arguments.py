# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Checks of plain arguments: each error names the argument and what it may be."""

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["check_integer", "check_positive", "check_unit_interval"]


def check_positive(name: str, value: Any, below: float = math.inf) -> float:
    """Return `value` as a float; raise unless it is a number in (0, below)."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a positive number, got {value!r}.")
    if not (0 < float(value) < below):
        limit = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name} must be positive{limit}, got {value!r}.")
    return float(value)


def check_unit_interval(name: str, value: Any) -> float:
    """Return `value` as a float; raise unless it is in (0, 1]."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be in (0, 1], got {value!r}.")
    if not 0 < float(value) <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {value!r}.")
    return float(value)


def check_integer(name: str, value: Any) -> int:
    """Return `value` as an int; raise unless it is a positive whole number."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}.")
    return int(value)
