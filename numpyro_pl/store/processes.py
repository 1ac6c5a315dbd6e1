# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A run of several processes (`jax.distributed.initialize`), of which the first one alone
reads and writes the store.
"""

import pickle
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

__all__ = ["from_first", "is_first"]


def is_first() -> bool:
    """Whether this process is the first one, or the only one."""
    return jax.process_index() == 0


def from_first(fn: Callable[[], Any]) -> Any:
    """
    What `fn()` returns in the first process, in all of them; it is called there alone.

    :param fn: function that returns numbers, strings, arrays, and containers of them.
    :raises Exception: in every process, what `fn` raises in the first one.
    """
    if jax.process_count() == 1:
        return fn()
    found: Any = None
    if is_first():
        try:
            found = True, fn()
        except Exception as error:
            found = False, error
    done, value = _sent(found)
    if not done:
        raise value
    return value


def _sent(value: Any) -> Any:
    """A value of the first process in all processes of the run."""
    # Not at the top: it looks for devices.
    from jax.experimental.multihost_utils import broadcast_one_to_all

    # Between processes of one run; a file is never read in this way.
    text = pickle.dumps(value) if is_first() else b""
    size = int(broadcast_one_to_all(np.asarray(len(text), np.int32)))
    data = np.zeros(size, np.uint8)
    if is_first():
        data[:] = np.frombuffer(text, np.uint8)
    return pickle.loads(np.asarray(broadcast_one_to_all(data)).tobytes())
