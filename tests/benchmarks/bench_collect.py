"""
Memory of a run that keeps only the logits of a test set: peak resident memory of the
process above what it held with the data and the imports, in a first run, with the
compiler, and in a second run of the compiled program.

    python tests/benchmarks/bench_collect.py [--draws 1000] [--steps 100] [--all]

`--all` keeps every weight instead. `--arrays` compiles only, and prints the memory that
the compiler plans for the arrays of the run.
"""

import argparse
import ctypes
import gc
import itertools
import re
import resource
import time
from pathlib import Path

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin
from numpyro_pl.trees.arithmetic import size_of

SIZES = (784, 904, 324, 10)
ROWS, BATCH, TEST = 20_000, 128, 1_000


def logits(values, x):
    h = x
    for i in range(3):
        h = (jax.nn.relu(h) if i else h) @ values[f"w{i}"] + values[f"b{i}"]
    return h


def model(x, y):
    values = {}
    for i, (a, b) in enumerate(itertools.pairwise(SIZES)):
        prior = dist.Normal(0, a**-0.5).expand([a, b]).to_event()
        values[f"w{i}"] = numpyro.sample(f"w{i}", prior)
        values[f"b{i}"] = numpyro.sample(f"b{i}", dist.Normal(0, 1).expand([b]))
    with numpyro.plate("data", x.shape[0], subsample_size=BATCH):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=logits(values, xb)), obs=yb)


def resident():
    """Megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak():
    """The most megabytes that it has held since the last call."""
    (line,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return int(line) / 1e3


def planned_arrays(mcmc, x, y):
    """Megabytes of the arrays of a compiled run, its result included, besides data."""

    def go(key, x, y):
        mcmc.run(key, x, y)
        return mcmc.get_samples(), mcmc.last_state

    memory = jax.jit(go).lower(jax.random.key(0), x, y).compile().memory_analysis()
    return (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--arrays", action="store_true")
    options = parser.parse_args()
    key_x, key_y, key_test = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(key_x, (ROWS, SIZES[0]))
    y = jax.random.randint(key_y, (ROWS,), 0, 10)
    x_test = jax.block_until_ready(jax.random.normal(key_test, (TEST, SIZES[0])))
    collect = None if options.all else lambda values: logits(values, x_test)
    # The pass over the data for the potential of a draw changes the time alone.
    kernel = PseudoLangevin(
        model, num_steps=options.steps, collect=collect, full_potential=False
    )
    # The data are inputs of the program, and not constants in it. With a progress bar
    # the program of the first run serves the second.
    mcmc = MCMC(
        kernel,
        num_warmup=options.warmup,
        num_samples=options.draws,
        progress_bar=not options.arrays,
        jit_model_args=True,
    )
    if options.arrays:
        print(f"arrays of the run: {planned_arrays(mcmc, x, y):.0f} MB")
        return
    before = resident()
    for name in ("first", "second"):
        start = time.perf_counter()
        mcmc.run(jax.random.key(1), x, y)
        draws = jax.block_until_ready(mcmc.get_samples())
        seconds = time.perf_counter() - start
        shapes = {name: np.shape(v) for name, v in draws.items()}
        print(f"{name} run: {peak() - before:.0f} MB above the data, {seconds:.0f} s")
    print(f"{size_of(mcmc.last_state.z):,} parameters, kept {shapes}")


if __name__ == "__main__":
    main()
