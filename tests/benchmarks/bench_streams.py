# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Data on disk against the same in memory: seconds of a step, and the memory of a run on a
file that is larger than the machine's.

    python tests/benchmarks/bench_streams.py step [--draws 30] [--rounds 3]
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
from numpyro.infer import MCMC

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


def sampler(num_warmup, draws):
    kernel = PseudoLangevin(model, num_steps=STEPS, full_potential=False)
    return MCMC(kernel, num_warmup=num_warmup, num_samples=draws, progress_bar=False)


def write_rows(path, num):
    """A file of rows of random pixels."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (num, SIZES[0]))
    rng = np.random.default_rng(0)
    for start in range(0, num, 1000):
        part = rows[start : start + 1000]
        part[:] = rng.random(part.shape, np.float32)
    rows.flush()


def step(args):
    """Seconds of a step from a file, from an array, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        write_rows(path, args.rows)
        mapped = np.load(path, mmap_mode="r")
        y = jnp.asarray(np.random.default_rng(1).integers(0, 10, args.rows))
        data = {"memory": jnp.asarray(mapped), "disk": streamed(mapped)}
        runs = {name: sampler(4, args.draws) for name in data}
        seconds, draws = {name: [] for name in data}, {}
        for i in range(args.rounds + 1):
            for name, x in data.items():
                mcmc = runs[name]
                begin = time.perf_counter()
                mcmc.run(random.key(0), x, y)
                mcmc.get_samples()["w0"].block_until_ready()
                seconds[name] += [time.perf_counter() - begin] * (i > 0)
                draws[name] = mcmc.get_samples()
        steps = (4 + args.draws) * STEPS
        best = {name: min(s) / steps * 1e3 for name, s in seconds.items()}
        ratio = [d / m for m, d in zip(*seconds.values(), strict=True)]
        same = all(
            bool(jnp.array_equal(*pair))
            for pair in zip(*map(jax.tree.leaves, draws.values()), strict=True)
        )
        print(f"ms a step: {best}; ratios {np.round(ratio, 3)}")
        print(f"median ratio {statistics.median(ratio):.3f}; same draws: {same}")


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
        sampler(4, args.draws).run(random.key(0), x, y)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        seconds = time.perf_counter() - begin
        print(
            f"{num} rows, {args.gigabytes} GB: peak {peak:.2f} GB resident (before the "
            f"run {before:.2f}), {seconds:.0f} s for {args.draws} draws with all passes"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["step", "large"])
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--gigabytes", type=float, default=20)
    args = parser.parse_args()
    {"step": step, "large": large}[args.what](args)


if __name__ == "__main__":
    main()
