# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Data on disk against the same in memory: seconds of a step, and the memory of a run on a
file that is larger than the machine's.

    python tests/benchmarks/bench_streams.py step [--draws 2] [--rounds 9]
    python tests/benchmarks/bench_streams.py large [--gigabytes 20]
"""

import argparse
import itertools
import resource
import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import random

from numpyro_pl import PseudoLangevin, streamed

SIZES = (784, 120, 64, 10)
"""A network of 102,594 weights."""

BATCH, STEPS = 128, 100


def model(x, y):
    values = {}
    for i, (a, b) in enumerate(itertools.pairwise(SIZES)):
        prior = dist.Normal(0, a**-0.5).expand([a, b]).to_event()
        values[f"w{i}"] = numpyro.sample(f"w{i}", prior)
        bias = dist.Normal(0, 1).expand([b]).to_event()
        values[f"b{i}"] = numpyro.sample(f"b{i}", bias)
    with numpyro.plate("data", x.shape[0], subsample_size=BATCH) as ind:
        h, yb = x[ind], y[ind]
        for i in range(3):
            h = (jax.nn.relu(h) if i else h) @ values[f"w{i}"] + values[f"b{i}"]
        numpyro.sample("y", dist.Categorical(logits=h), obs=yb)


KERNEL = PseudoLangevin(
    model, num_steps=STEPS, full_potential=False, control_variate=None, dense_mass=False
)


class Chain:
    """A chain whose draws are one compiled program, its warmup included."""

    def __init__(self, num_warmup, x, y):
        self.state = KERNEL.init(random.key(0), num_warmup, None, (x, y), {})
        held = [x] if isinstance(x, jax.Array) else []
        draw = jax.jit(
            lambda state, y, *held: KERNEL.sample(state, (*(held or [x]), y), {})
        )
        self._arrays = y, *held
        self._draw = draw.lower(self.state, *self._arrays).compile()
        self.seconds(num_warmup)

    def seconds(self, num):
        """Make draws; how long that takes."""
        begin = time.perf_counter()
        for _ in range(num):
            self.state = self._draw(self.state, *self._arrays)
        jax.block_until_ready(self.state)
        return time.perf_counter() - begin


def write_rows(path, num):
    """A file of rows of random pixels; labels that can be learned from them."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (num, SIZES[0]))
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((SIZES[0], SIZES[-1]), np.float32)
    labels = np.empty(num, np.int32)
    for start in range(0, num, 1000):
        part = rows[start : start + 1000]
        part[:] = rng.random(part.shape, np.float32) - 0.5
        labels[start : start + 1000] = (part @ truth).argmax(-1)
    rows.flush()
    return jnp.asarray(labels)


def step(args):
    """Milliseconds of a step from a file and from an array, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        y = write_rows(path, args.rows)
        mapped = np.load(path, mmap_mode="r")
        memory = Chain(args.warmup, jnp.asarray(mapped), y)
        disk = Chain(args.warmup, streamed(mapped), y)
        found = {"memory": [], "disk": []}
        for _ in range(args.rounds):
            for chain, of_chain in zip((memory, disk), found.values(), strict=True):
                of_chain.append(chain.seconds(args.draws) / args.draws / STEPS * 1e3)
        ratios = [d / m for m, d in zip(*found.values(), strict=True)]
        same = map(
            np.array_equal, *(jax.tree.leaves(c.state.z) for c in (memory, disk))
        )
        state = disk.state
        print(f"ms a step: { {k: np.round(v, 2).tolist() for k, v in found.items()} }")
        print(
            f"disk / memory: {statistics.median(ratios):.3f} of {np.round(ratios, 3)}"
        )
        print(
            f"same position: {all(same)}; kinetic temperature "
            f"{state.mean_kinetic_temperature.mean():.3f}, divergences "
            f"{state.num_divergences.sum()} after warmup"
        )


def large(args):
    """Peak resident memory of a run on a sparse file."""
    num = int(args.gigabytes * 1e9 / 4 / SIZES[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.lib.format.open_memmap(path, "w+", np.float32, (num, SIZES[0]))
        y = jnp.asarray(np.random.default_rng(1).integers(0, 10, num))
        x = streamed(np.load(path, mmap_mode="r"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        begin = time.perf_counter()
        Chain(2, x, y).seconds(args.draws)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        seconds = time.perf_counter() - begin
        print(
            f"{num} rows, {args.gigabytes} GB: peak {peak:.2f} GB resident (before the "
            f"run {before:.2f}), {seconds:.0f} s for {args.draws} draws with all passes"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["step", "large"])
    parser.add_argument("--warmup", type=int, default=30)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--gigabytes", type=float, default=20)
    args = parser.parse_args()
    {"step": step, "large": large}[args.what](args)


if __name__ == "__main__":
    main()
