# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Checks of plain numbers: each error names the setting and what it may be."""

import math
from numbers import Integral, Real
from typing import Any

__all__ = [
    "check_integer",
    "check_not_negative",
    "check_positive",
    "check_unit_interval",
]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_positive(name: str, value: Any, below: float = math.inf) -> float:
    """
    Return `value` as a float.

    :raises ValueError: unless it is a number in (0, below).
    """
    if not _is_number(value):
        raise ValueError(f"{name} must be a positive number, got {value!r}.")
    if not 0 < float(value) < below:
        limit = " and finite" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name} must be positive{limit}, got {value!r}.")
    return float(value)


def check_not_negative(name: str, value: Any) -> float:
    """
    Return `value` as a float.

    :raises ValueError: unless it is a finite number, zero or above.
    """
    if not _is_number(value) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} must be zero or a positive number, got {value!r}.")
    return float(value)


def check_unit_interval(name: str, value: Any) -> float:
    """
    Return `value` as a float.

    :raises ValueError: unless it is a number in (0, 1].
    """
    if not _is_number(value) or not 0 < float(value) <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {value!r}.")
    return float(value)


def check_integer(name: str, value: Any, least: int = 1) -> int:
    """
    Return `value` as an int.

    :raises ValueError: unless it is a whole number, `least` or more.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        what = "a positive whole number" if least == 1 else f"{least} or more"
        raise ValueError(f"{name} must be {what}, got {value!r}.")
    return int(value)
