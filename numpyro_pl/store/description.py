# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What a run is: all that its draws depend on, in words that can be compared with those of
an earlier call. Objects are described by what they hold, never by their address.
"""

import dataclasses
import hashlib
import platform
import types
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np

from numpyro_pl.model.streams import Streamed
from numpyro_pl.store.fingerprint import fingerprint
from numpyro_pl.trees.arithmetic import is_array

__all__ = ["check_same", "described", "described_data", "described_versions"]


def described(value: Any) -> Any:
    """
    A setting in numbers, strings, lists and dicts. Of an unknown object only its kind
    is known.

    :param value: a number, string, array, dataclass, function, or a container of them.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | complex | bytes | np.generic):
        return repr(value)
    if isinstance(value, Streamed):
        return value.description
    if is_array(value):
        return _described_array(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return [type(value).__qualname__, described(fields)]
    if isinstance(value, Mapping):
        return {str(key): described(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [described(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(str(described(v)) for v in value)
    return _described_callable(value)


def _described_callable(value: Any) -> Any:
    if isinstance(value, partial):
        return [described(value.func), described(value.args), described(value.keywords)]
    if isinstance(value, types.MethodType):
        return described(value.__func__)
    # Without the module: that of a script is "__main__" and may be imported later.
    name = getattr(value, "__qualname__", "")
    if isinstance(value, types.FunctionType):
        # What a function holds is described, but not what functions held by it hold:
        # they may hold each other.
        held = [
            x.__qualname__ if isinstance(x, types.FunctionType) else described(x)
            for x in _held(value)
        ]
        return [name, _described_code(value.__code__), held]
    if isinstance(value, type):
        return name
    if type(value).__module__.startswith("numpyro_pl."):
        return [type(value).__qualname__, described(vars(value))]
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _held(fn: types.FunctionType) -> list:
    """Values of the variables that a function takes from around it."""
    found = []
    for cell in fn.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    return found


def _described_code(code: types.CodeType) -> str:
    """What a function does, without where it stands."""
    consts = [
        _described_code(c) if isinstance(c, types.CodeType) else described(c)
        for c in code.co_consts
    ]
    text = repr((code.co_code, code.co_names, code.co_varnames, consts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _described_array(value: Any) -> str:
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    shape, kind = list(value.shape), jax.numpy.dtype(value.dtype).name
    return f"{kind}{shape} {fingerprint(value)}"


def described_data(args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a model by their names."""
    leaves = jax.tree_util.tree_flatten_with_path((args, kwargs))[0]
    return {jax.tree_util.keystr(path): described(leaf) for path, leaf in leaves}


def described_versions() -> dict[str, str]:
    """What else the bits of a draw depend on."""
    names = ("jax", "jaxlib", "numpyro", "numpyro-pl")
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        **{name: _version(name) for name in names},
        "python": python,
        "device": jax.devices()[0].device_kind,
        "double precision": str(jax.numpy.zeros(()).dtype == np.float64),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a source tree that is not installed
        return "unknown"


def check_same(found: dict[str, Any], wanted: dict[str, Any], path: Any) -> None:
    """
    Check that a store holds the run that is asked for.

    :param dict found: description of the run in the store.
    :param dict wanted: description of the run of this call.
    :param path: the store.
    :raises ValueError: if they differ; it says in what.
    """
    differences = _differences(found, wanted)
    if not differences:
        return
    shown = "; ".join(differences[:8])
    more = len(differences) - 8
    shown += f"; and {more} more" if more > 0 else ""
    raise ValueError(
        f"the store '{path}' holds another run. It differs in: {shown}. To go on with "
        "that run, call sample_to_store with what it was begun with; for a new run "
        "choose another path. Nothing was changed."
    )


def _differences(found: Any, wanted: Any, where: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = list(dict.fromkeys([*wanted, *found]))
        missing = "nothing"
        return [
            text
            for name in names
            for text in _differences(
                found.get(name, missing),
                wanted.get(name, missing),
                f"{where} {name}".strip(),
            )
        ]
    if found == wanted:
        return []
    return [f"{where} (store: {_short(found)}, now: {_short(wanted)})"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
