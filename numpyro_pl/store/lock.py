# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""One run at a time on a store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["PRIVATE", "locked"]

PRIVATE = ".numpyro_pl"
"""Folder of a store for what is not draws: the state of the run and the lock."""


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """
    Context in which no other process writes to a store; it is made if there is none.

    :param path: the store.
    :return: its folder for what is not draws.
    :raises ValueError: if the path exists and is no store.
    :raises RuntimeError: if another run is writing to it.
    """
    private = path / PRIVATE
    if path.exists() and not private.is_dir():
        if not path.is_dir() or any(path.iterdir()):
            raise ValueError(
                f"'{path}' exists and is not a store of sample_to_store. Choose "
                "another path; nothing was changed."
            )
    private.mkdir(parents=True, exist_ok=True)
    lock = private / "lock"
    with open(lock, "a+") as file:
        if not _taken(file):
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise RuntimeError(
                f"the store '{path}' is being written by process {owner}. Wait for it, "
                "or stop it, or choose another path."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield private


def _taken(file) -> bool:
    """
    Take the lock of an open file, which the system releases when the process ends,
    however it ends. Where there are no such locks, every run takes it.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
