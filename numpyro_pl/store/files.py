# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Draws on disk, in the groups and under the names that ArviZ uses, as a Zarr store.

Each chunk of draws is one new file for each variable, and no file of an earlier chunk
is ever written again. What the store held after a chunk is listed with checksums in the
checkpoint of the run; files that a run began and did not finish are removed.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from numpyro_pl.store.checkpoint import sync_folder, write_whole
from numpyro_pl.store.lock import PRIVATE

__all__ = ["DrawFiles", "as_datasets", "check_zarr"]

GROUPS = ("posterior", "sample_stats")
FIELD_NAMES = {
    "potential_energy": "lp",
    "adapt_state.step_size": "step_size",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
}
"""Names of ArviZ for fields of states; `lp` is minus the potential."""

METADATA = (".zgroup", ".zarray", ".zattrs")
SUMMARY = ".zmetadata"


def check_zarr() -> None:
    """:raises ImportError: without Zarr 3."""
    try:
        import zarr

        known = int(zarr.__version__.split(".")[0]) >= 3
    except ImportError:
        known = False
    if not known:
        raise ImportError(
            "stores on disk need Zarr 3 or later: pip install 'numpyro-pl[store]'."
        )


def as_datasets(
    draws: dict[str, np.ndarray],
    fields: dict[str, np.ndarray],
    first: int,
    dims: dict[str, list[str]],
) -> dict[str, Any]:
    """
    Draws as `arviz.from_numpyro` has them, by group. (It takes an `MCMC` alone.)

    :param dict draws: arrays of shape (chain, draw, ...) by site.
    :param dict fields: the same by field of the state.
    :param int first: number of the first draw.
    :param dict dims: names of dimensions by site.
    """
    stats = {FIELD_NAMES.get(name, name): x for name, x in fields.items()}
    if "potential_energy" in fields:
        stats["lp"] = -stats["lp"]
    if "num_steps" in fields:
        stats["tree_depth"] = np.log2(fields["num_steps"]).astype(int) + 1
    groups = {"posterior": (draws, dims), "sample_stats": (stats, {})}
    return {
        group: _with_plain_names(_dataset(values, first, names))
        for group, (values, names) in groups.items()
        if values
    }


def _dataset(values: dict[str, np.ndarray], first: int, dims: dict) -> Any:
    """A dataset with a dimension for each axis of each array."""
    # Not at the top: importing the package would import xarray, which takes long.
    import xarray as xr

    variables: dict[str, tuple] = {}
    sizes: dict[str, int] = {}
    for name, x in values.items():
        named = dims.get(name, [])[: x.ndim - 2]
        rest = [f"{name}_dim_{i}" for i in range(x.ndim - 2 - len(named))]
        axes = ("chain", "draw", *named, *rest)
        variables[name] = (axes, x)
        sizes |= dict(zip(axes, x.shape, strict=True))
    coords = {axis: np.arange(size) for axis, size in sizes.items()}
    coords["draw"] = first + coords["draw"]
    return xr.Dataset(variables, coords, {"inference_library": "numpyro"})


def _with_plain_names(dataset: Any) -> Any:
    """
    Names in which a dot stands for a slash, which would make a group of its own; the
    attribute "site" of a variable is its name in the model.
    """
    names = [str(n) for n in {**dict(dataset.variables), **dict(dataset.sizes)}]
    plain = {name: name.replace("/", ".") for name in names if "/" in name}
    clash = [n for n, new in plain.items() if new in names]
    if clash:
        raise ValueError(
            f"'{clash[0]}' and '{plain[clash[0]]}' would have the same name in a "
            "store: rename one of them, or leave it out with collect=."
        )
    for name in dataset.data_vars:
        if name in plain:
            dataset[name].attrs["site"] = name
    return dataset.rename(plain)


class DrawFiles:
    """
    The files of a store that hold draws.

    :param root: the store.
    :param int draws_per_chunk: draws in one file.
    """

    def __init__(self, root: Path, draws_per_chunk: int):
        self.root = root
        self.draws_per_chunk = draws_per_chunk
        self.files: dict[str, list[int]] = {}
        self.documents: dict[str, str] = {}

    def append(self, groups: dict[str, Any], first: bool) -> None:
        """
        Write a chunk of draws to the disk.

        :param groups: the draws, of :func:`as_datasets`.
        :param bool first: whether these are the first ones.
        """
        if first:
            self._write(self.root / ".zgroup", '{"zarr_format": 2}')
        for group, dataset in groups.items():
            how: dict[str, Any] = {"append_dim": "draw"}
            if first:
                how = {"mode": "w", "encoding": self._encoding(dataset)}
            dataset.to_zarr(
                str(self.root),
                group=group,
                # The format that every version of Zarr and ArviZ can read.
                zarr_format=2,
                consolidated=False,
                write_empty_chunks=True,
                **how,
            )
        new = [path for path in self._paths() if self._name(path) not in self.files]
        for path in new:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        for folder in {path.parent for path in new}:
            sync_folder(folder)
        self.files |= {self._name(path): _checksum(path) for path in new}
        self.documents = {
            self._name(path): path.read_text() for path in self._paths(METADATA)
        }
        self._summarize()

    def go_back(self, files: dict[str, list[int]], documents: dict[str, str]) -> None:
        """
        Check the files of the draws that a run has finished, and remove what it began.

        :param files: size and checksum by name, as they were then.
        :param documents: the metadata, as they were then.
        :raises ValueError: if a finished file is missing or was changed.
        """
        bad = [name for name, mark in files.items() if _mark(self.root / name) != mark]
        if bad:
            raise ValueError(
                f"in the store '{self.root}' {len(bad)} of {len(files)} files of "
                "finished draws are missing, cut off or changed: "
                f"{', '.join(bad[:3])}. Restore them from a copy and call again, or "
                "sample again to another path. Nothing was changed."
            )
        for path in self._paths():
            if self._name(path) not in files:
                path.unlink()
        for path in self._paths(METADATA):
            if self._name(path) not in documents:
                path.unlink()
        for name, text in documents.items():
            self._write(self.root / name, text)
        self.files, self.documents = dict(files), dict(documents)
        if documents:
            self._summarize()
        else:
            (self.root / SUMMARY).unlink(missing_ok=True)
            for group in GROUPS:
                shutil.rmtree(self.root / group, ignore_errors=True)

    def _encoding(self, dataset: Any) -> dict[str, dict]:
        """One chunk of draws in a file; random digits cannot be compressed."""
        found = {}
        for name, variable in dataset.variables.items():
            sizes = {**variable.sizes, "draw": self.draws_per_chunk}
            chunks = tuple(sizes[dim] for dim in variable.dims)
            found[str(name)] = {"chunks": chunks, "compressors": None}
        return found

    def _paths(self, names: Iterable[str] = ()) -> list[Path]:
        """All files of the store, or those that have one of the names."""
        wanted = tuple(names)
        others = (*METADATA, SUMMARY)
        return [
            path
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
            and PRIVATE not in path.parts
            and (path.name in wanted if wanted else path.name not in others)
        ]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: file.write(text.encode()))

    def _summarize(self) -> None:
        """The metadata in one document, by which readers find what is finished."""
        metadata = {name: json.loads(text) for name, text in self.documents.items()}
        summary = {"zarr_consolidated_format": 1, "metadata": metadata}
        self._write(self.root / SUMMARY, json.dumps(summary, indent=1))


def _checksum(path: Path) -> list[int]:
    """Size and CRC-32 of a file."""
    total = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            total = zlib.crc32(block, total)
    return [path.stat().st_size, total]


def _mark(path: Path) -> list[int] | None:
    return _checksum(path) if path.is_file() else None
