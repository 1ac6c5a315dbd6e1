# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The clock: one competitor with one setting in this process, until its time is up.

The clock starts when JAX is imported and the data are loaded, and stops while draws are
recorded, for every competitor. Tracing, compiling, warmup and tuning count.
"""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import problem
from .chunks import Chunk
from .grid import Competitor

COMPILING = (
    "jaxpr_trace_duration",
    "jaxpr_to_mlir_module_duration",
    "backend_compile_duration",
)


class Record(NamedTuple):
    """
    What a competitor has drawn, by chunk.

    - **seconds**, **passes** - since the start, at the end of each chunk.
    - **draws** - draws of all chains in each chunk.
    - **probs** - sums of class probabilities, of shape (chunk, points, classes).
    - **squares** - sums of the mean squares of sites, of shape (chunk, site).
    - **compiling** - seconds of tracing and compiling.
    - **cores** - CPU seconds for each second on the clock.
    - **recording** - seconds for which the clock stood.
    - **finite** - whether all draws were finite; the run ends at the first that is not.
    """

    seconds: np.ndarray
    passes: np.ndarray
    draws: np.ndarray
    probs: np.ndarray
    squares: np.ndarray
    compiling: float
    cores: float
    recording: float
    finite: bool


class Clock:
    """Seconds since its making, without those between `stop` and `go`."""

    def __init__(self):
        self._start, self._cpu = time.perf_counter(), time.process_time()
        self._stopped_at, self.stood, self.compiling = 0.0, 0.0, 0.0
        self._stopped = False
        jax.monitoring.register_event_duration_secs_listener(self._compiled)

    def _compiled(self, event: str, seconds: float, **kwargs) -> None:
        if event.rsplit("/", 1)[-1] in COMPILING and not self._stopped:
            self.compiling += seconds

    def stop(self) -> float:
        self._stopped, self._stopped_at = True, time.perf_counter()
        return self._stopped_at - self._start - self.stood

    def go(self) -> None:
        self._stopped = False
        self.stood += time.perf_counter() - self._stopped_at

    def cores(self) -> float:
        """CPU seconds a second, those of recording among them."""
        taken = time.perf_counter() - self._start
        return (time.process_time() - self._cpu) / taken


def record(chunks: Iterator[Chunk], x_test: jax.Array, limit: float) -> Record:
    """
    Run a competitor and keep what its draws say.

    :param chunks: the competitor, which has not started.
    :param limit: seconds.
    """
    clock, finite = Clock(), True
    kept: list[tuple] = []
    for chunk in chunks:
        jax.block_until_ready(chunk.draws)
        seconds = clock.stop()
        if chunk.draws is not None and seconds <= limit:
            sums = problem.sums(chunk.draws, x_test)
            number = np.prod(chunk.draws["b1"].shape[:2])
            probs, squares = (np.asarray(s).sum(0) for s in (sums.probs, sums.squares))
            kept.append((seconds, chunk.passes, number, probs, squares))
            finite = bool(np.isfinite(squares).all() and np.isfinite(probs).all())
        if seconds > limit or not finite:
            break
        clock.go()
    cores = clock.cores()
    if not kept:
        return Record(*np.zeros((5, 0)), clock.compiling, cores, clock.stood, finite)
    columns = [np.stack(values) for values in zip(*kept, strict=True)]
    return Record(*columns, clock.compiling, cores, clock.stood, finite)


def run_one(
    competitor: Competitor, setting: dict, seed: int, limit: float, path: Path
) -> None:
    """Race one competitor with one setting in this process, and keep its record."""
    module = importlib.import_module(f".{competitor.module}", __package__)
    x_test = problem.data().x_test
    jax.block_until_ready(jnp.zeros(1) + 1)
    chunks = getattr(module, competitor.function)(jax.random.key(seed), **setting)
    np.savez(path, **record(chunks, x_test, limit)._asdict())


def load(path: Path) -> Record:
    found = np.load(path)
    values = {name: found[name] for name in Record._fields}
    return Record(**{k: v if v.ndim else v.item() for k, v in values.items()})
