# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Long runs: draws go to disk in chunks, and a run that ends goes on where it was."""

import os
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpyro.infer import MCMC
from tqdm.auto import tqdm

from numpyro_pl.model.sites import plate_dims
from numpyro_pl.store.chains import Chains
from numpyro_pl.store.checkpoint import (
    load_checkpoint,
    restored,
    save_checkpoint,
    state_arrays,
)
from numpyro_pl.store.description import (
    check_same,
    described,
    described_data,
    described_versions,
)
from numpyro_pl.store.files import DrawFiles, as_datasets, check_zarr
from numpyro_pl.store.lock import PRIVATE, locked
from numpyro_pl.store.processes import from_first, is_first
from numpyro_pl.trees.checks import check_integer

__all__ = ["CHECKPOINT", "sample_to_store"]

CHECKPOINT = "state.npz"
KERNEL_SETTINGS = (
    "_model",
    "_potential_fn",
    "_assign",
    "settings",
    "dynamics",
    "partition",
)
CHUNK_BYTES = 2**26
MOST_DRAWS = 100
"""Most size and most draws of a chunk where the user gives none: a run that is killed
loses a chunk."""


def sample_to_store(
    mcmc: MCMC,
    rng_key: jax.Array,
    *args: Any,
    path: str | os.PathLike,
    draws_per_chunk: int | None = None,
    extra_fields: tuple[str, ...] = (),
    **kwargs: Any,
) -> Path:
    """
    Run an `MCMC` and write its draws to a Zarr store, a chunk at a time. Memory holds
    one chunk; each chunk is written with the state of the sampler after it. Called
    again with the same arguments, a run that ended early, for whatever reason, goes on
    from its last chunk, and the finished store is that of a run without interruption,
    bit for bit (if XLA compiles the program alike both times, which it nearly always
    does). A finished run goes on if `num_samples` has grown.

    The store has the groups "posterior" and "sample_stats" under the names that
    `arviz.from_numpyro` gives them, except that a dot stands for a slash:
    :func:`open_store` opens it. Draws and fields are those of `mcmc.run(rng_key, ...)`
    up to rounding. Of several processes (`jax.distributed`), all of which make this
    call, the first one reads and writes the store.

    :param MCMC mcmc: what to run: its kernel, `num_warmup`, `num_samples`, `thinning`,
        `num_chains`, `chain_method` and `postprocess_fn` count. It is not changed.
    :param rng_key: a PRNG key.
    :param args: positional arguments of the model.
    :param path: folder of the store; made if there is none.
    :param int draws_per_chunk: draws of every chain in one chunk. None: as many as fill
        64 MB, at most 100.
    :param extra_fields: further fields of the state, as in `MCMC.run`.
    :param kwargs: keyword arguments of the model; `init_params` is for the sampler.
    :return: the path.
    :raises ValueError: before sampling: if the path exists and is no store; if the
        store is of another run (settings, model, data, key, versions), or damaged; for
        a field that the state does not have.
    :raises RuntimeError: if another process is writing to the store.
    :raises OSError: if the disk is full or cannot be written; what is finished stays.
    :raises ImportError: without Zarr.
    """
    check_zarr()
    if draws_per_chunk is not None:
        check_integer("draws_per_chunk", draws_per_chunk)
    if mcmc.post_warmup_state is not None:
        raise ValueError(
            "mcmc.post_warmup_state is set, but sample_to_store runs a warmup of its "
            "own: pass an MCMC that has not been warmed up, or set it to None."
        )
    if isinstance(extra_fields, str) or any(f[:1] == "~" for f in extra_fields):
        raise ValueError(
            "extra_fields must be a tuple of names of fields; to leave out sites, use "
            f"the kernel's collect. Got {extra_fields!r}."
        )
    root = Path(path)
    init_params = kwargs.pop("init_params", None)
    data = tuple(args), dict(kwargs)
    wanted = _described_run(mcmc, rng_key, data, init_params, tuple(extra_fields))
    wanted["settings"]["draws_per_chunk"] = draws_per_chunk
    with ExitStack() as stack:
        run = _StoredRun(mcmc, root)
        arrays = run.opened(wanted, stack)
        if run.num_draws < run.total:
            run.chains = Chains(mcmc, data, tuple(extra_fields))
            states = run.chains.start(rng_key, init_params)
            states = restored(arrays, states) if arrays else states
            run.sampled(states, draws_per_chunk)
    return root


def _described_run(mcmc: MCMC, rng_key, data, init_params, extra_fields) -> dict:
    """What the draws of a run depend on."""
    kernel = mcmc.sampler
    # Not what kernels keep of an earlier run, and of NUTS only plain settings: it keeps
    # functions between others.
    held = {
        name.lstrip("_"): described(value)
        for name, value in vars(kernel).items()
        if name in KERNEL_SETTINGS
        or (
            isinstance(value, bool | int | float | str | tuple)
            and name not in ("_sample_fn", "_num_warmup")
        )
    }
    names = ("num_warmup", "thinning", "num_chains", "chain_method", "postprocess_fn")
    settings = {name: described(getattr(mcmc, name)) for name in names}
    settings["kernel"] = type(kernel).__name__
    settings["extra_fields"] = list(extra_fields)
    settings["num_samples modulo thinning"] = mcmc.num_samples % mcmc.thinning
    return {
        "settings": settings,
        "kernel": held,
        "rng_key": described(rng_key),
        "data": described_data(*data),
        "init_params": described_data((init_params,), {}),
        "version": described_versions(),
    }


class _StoredRun:
    """
    A run and its store.

    - **num_steps** - steps of the kernel before the first draw that are done.
    - **num_draws** - draws that are done and on disk.
    """

    chains: Chains

    def __init__(self, mcmc: MCMC, root: Path):
        self.mcmc, self.root = mcmc, root
        self.checkpoint = root / PRIVATE / CHECKPOINT
        self.num_steps = self.num_draws = 0
        self.total = mcmc.num_samples // mcmc.thinning
        # `MCMC` keeps the last draws of a number that thinning does not divide.
        self.first = mcmc.num_warmup + mcmc.num_samples % mcmc.thinning
        self.files = DrawFiles(root, 0)
        self.description: dict = {}

    def opened(self, wanted: dict, stack: ExitStack) -> dict[str, np.ndarray]:
        """
        Compare the store with what is asked for, and bring it to its last checkpoint.

        :param dict wanted: description of the run.
        :param ExitStack stack: context in which no other run writes to the store.
        :return: the arrays of the state then; none in a new store.
        """
        self.description = wanted
        found, arrays = from_first(lambda: self._opened(stack))
        self.num_steps, self.num_draws, self.files.draws_per_chunk = found
        return arrays

    def _opened(self, stack: ExitStack) -> tuple[tuple, dict[str, np.ndarray]]:
        """What is done and the size of chunks, and the arrays of the state."""
        stack.enter_context(locked(self.root))
        if not self.checkpoint.exists():
            if (self.root / "posterior").exists():
                raise ValueError(
                    f"the store '{self.root}' has draws, but no state to go on from "
                    f"({self.checkpoint} is missing). Restore it from a copy, or "
                    "choose another path. Nothing was changed."
                )
            self._save({})
            return (0, 0, self.files.draws_per_chunk), {}
        header, arrays = load_checkpoint(self.checkpoint)
        check_same(header["description"], self.description, self.root)
        num_draws, chunk = header["num_draws"], header["draws_per_chunk"]
        self.files.go_back(header["files"], header["documents"])
        if num_draws < self.total and chunk and num_draws % chunk:
            raise ValueError(
                f"the store '{self.root}' holds a finished run of {num_draws} "
                f"draws, which is no multiple of its {chunk} draws in a chunk: it "
                "cannot be continued. Sample the further draws to another path."
            )
        return (header["num_steps"], num_draws, chunk), arrays

    def _save(self, arrays: dict[str, np.ndarray]) -> None:
        if not is_first():
            return
        header = {
            "description": self.description,
            "num_steps": self.num_steps,
            "num_draws": self.num_draws,
            "draws_per_chunk": self.files.draws_per_chunk,
            "files": self.files.files,
            "documents": self.files.documents,
        }
        save_checkpoint(self.checkpoint, header, arrays)

    def sampled(self, states: list, draws_per_chunk: int | None) -> None:
        """Sample and write what is missing."""
        draws, fields = self.chains.read(states)
        one = [{k: x[:, None] for k, x in v.items()} for v in (draws, fields)]
        # Here and not after the warmup, for names that a store cannot have.
        as_datasets(one[0], one[1], 0, {})
        size = sum(x.nbytes for x in draws.values())
        chunk = draws_per_chunk or max(1, min(CHUNK_BYTES // size, MOST_DRAWS))
        # That of a store that exists comes first: its files have it.
        chunk = self.files.draws_per_chunk or min(chunk, self.total)
        self.files.draws_per_chunk = chunk
        thinning = self.mcmc.thinning
        with tqdm(
            total=self.first + self.total * thinning,
            initial=self.num_steps + self.num_draws * thinning,
            disable=not (self.mcmc.progress_bar and is_first()),
        ) as bar:
            try:
                while self.num_steps < self.first:
                    states = self._warmed_up(states, chunk * thinning, bar)
                while self.num_draws < self.total:
                    states = self._with_chunk(states, chunk, bar)
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"writing to the store failed ({error.strerror or error}). Its "
                    f"{self.num_draws} finished draws are safe; free space or repair "
                    "the disk, and call sample_to_store again",
                    str(self.root),
                ) from error

    @cached_property
    def _dims(self) -> dict[str, list[str]]:
        """Names of dimensions by site."""
        model = self.mcmc.sampler.model
        return {} if model is None else plate_dims(model, *self.chains.data)

    def _warmed_up(self, states: list, num: int, bar: tqdm) -> list:
        num = min(num, self.first - self.num_steps)
        for _ in range(num):
            states = self.chains.advance(states, 1)
            self._show(states, "warmup", 1, bar)
        self.num_steps += num
        self._save(state_arrays(states))
        return states

    def _with_chunk(self, states: list, chunk: int, bar: tqdm) -> list:
        """One chunk further: sampled, written, and then the state after it."""
        num = min(chunk, self.total - self.num_draws)
        buffers: tuple[dict, dict] = {}, {}
        for i in range(num):
            states = self.chains.advance(states, self.mcmc.thinning)
            for buffer, values in zip(buffers, self.chains.read(states), strict=True):
                for name, x in values.items():
                    if not i:
                        shape = (x.shape[0], num, *x.shape[1:])
                        buffer[name] = np.empty(shape, x.dtype)
                    buffer[name][:, i] = x
            self._show(states, "sample", self.mcmc.thinning, bar)
        if is_first():
            groups = as_datasets(*buffers, self.num_draws, self._dims)
            self.files.append(groups, first=self.num_draws == 0)
        self.num_draws += num
        self._save(state_arrays(states))
        return states

    def _show(self, states: list, stage: str, num: int, bar: tqdm) -> None:
        bar.set_description(stage, refresh=False)
        bar.set_postfix_str(self.chains.shown(states), refresh=False)
        bar.update(num)
