# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The state of a run on disk. A file is replaced as a whole, after it has been written to
the disk under another name: whenever the process ends, there is an old state or a new
one. It holds plain arrays and a text in JSON; nothing in it is ever executed.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np

from numpyro_pl.trees.arithmetic import Tree, leaf_names

__all__ = [
    "load_checkpoint",
    "restored",
    "save_checkpoint",
    "state_arrays",
    "sync_folder",
    "write_whole",
]


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """
    Replace a file at once, or leave it as it is.

    :param path: the file.
    :param write: function that writes to an open file.
    """
    temporary = path.with_name(f"{path.name}.partial")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the list of a folder's files to the disk."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def state_arrays(state: Tree) -> dict[str, np.ndarray]:
    """
    The arrays of a state by number and name, on the host.

    :param state: the state of a chain, or a list of states.
    """
    named = zip(leaf_names(state), jax.tree.leaves(state), strict=True)
    return {
        f"{i:04d} {name}": np.asarray(jax.random.key_data(x) if _is_key(x) else x)
        for i, (name, x) in enumerate(named)
    }


def save_checkpoint(path: Path, header: dict, arrays: dict[str, np.ndarray]) -> None:
    """
    Replace a checkpoint.

    :param path: the file.
    :param dict header: what JSON can hold.
    :param dict arrays: arrays by name.
    """
    kinds = {name: [x.dtype.name, list(x.shape)] for name, x in arrays.items()}
    text = json.dumps({**header, "arrays": kinds})
    # As bytes, because NumPy's files do not know bfloat16 and its like.
    data = [np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in arrays.values()]
    named = {f"array_{i}": x for i, x in enumerate(data)}
    named["header"] = np.frombuffer(text.encode(), np.uint8)
    write_whole(path, lambda file: np.savez(file, **named))  # type: ignore[arg-type]


def load_checkpoint(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """
    Read a checkpoint: its header, and its arrays by name.

    :raises ValueError: if it is damaged; its checksums are those of a zip archive.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes().decode())
            kinds = header.pop("arrays")
            arrays = {
                name: file[f"array_{i}"].view(np.dtype(kind)).reshape(shape)
                for i, (name, (kind, shape)) in enumerate(kinds.items())
            }
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"the state in '{path}' is damaged ({error}), so the run cannot go on. The "
            "draws beside it can still be opened; for a new run choose another path, "
            "or restore this file from a copy."
        ) from error
    return header, arrays


def restored(arrays: dict[str, np.ndarray], like: Tree) -> Tree:
    """
    A state from its arrays, in the structure that the kernel gives it.

    :param dict arrays: what :func:`state_arrays` returned.
    :param like: a state of the same run.
    :raises ValueError: if names, shapes or types of the arrays differ from those of
        the kernel's state.
    """
    expected = state_arrays(like)
    kinds = {name: (x.shape, x.dtype) for name, x in expected.items()}
    found = {name: (x.shape, x.dtype) for name, x in arrays.items()}
    if kinds != found:
        wrong = sorted(n for n in {*kinds, *found} if kinds.get(n) != found.get(n))
        raise ValueError(
            "the stored state is not one of this kernel: it differs in "
            f"{', '.join(wrong[:5])}. Choose another path for a new run."
        )
    leaves, structure = jax.tree.flatten(like)
    new = []
    for x, value in zip(leaves, arrays.values(), strict=True):
        array = jax.numpy.asarray(value)
        if _is_key(x):
            array = jax.random.wrap_key_data(array, impl=jax.random.key_impl(x))
        new.append(array)
    return jax.tree.unflatten(structure, new)
