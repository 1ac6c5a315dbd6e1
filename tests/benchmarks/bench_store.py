"""
Runs on disk: what writing costs for a network of a million weights, and whether runs
that are killed at random moments end as if they had not been.

    python tests/benchmarks/bench_store.py [--kills 20] [--draws 20] [--steps 100]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from bench_collect import BATCH, ROWS, SIZES, model
from numpyro.infer import MCMC

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

import store_runs

from numpyro_pl import PseudoLangevin, sample_to_store
from numpyro_pl.store import files, sampling
from numpyro_pl.store.checkpoint import load_checkpoint


def timed(seconds, names, fn):
    def call(*args, **kwargs):
        start = time.perf_counter()
        result = fn(*args, **kwargs)
        passed = time.perf_counter() - start
        for name in names:
            seconds[name] = seconds.get(name, 0.0) + passed
        return result

    return call


def cost_of_writing(draws, steps):
    """Seconds for sampling and for writing, every weight kept."""
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (ROWS, SIZES[0]))
    y = jax.random.randint(key_y, (ROWS,), 0, 10)
    kernel = PseudoLangevin(model, num_steps=steps, full_potential=False)
    mcmc = MCMC(kernel, num_warmup=1, num_samples=draws, progress_bar=False)
    seconds = {}
    files.DrawFiles.append = timed(seconds, ("write", "append"), files.DrawFiles.append)
    sampling.save_checkpoint = timed(
        seconds, ("write", "state"), sampling.save_checkpoint
    )
    sampling.as_datasets = timed(seconds, ("write", "arviz"), sampling.as_datasets)
    run = sampling._StoredRun
    run._with_chunk = timed(seconds, ("all",), run._with_chunk)
    with tempfile.TemporaryDirectory() as folder:
        sample_to_store(mcmc, jax.random.key(1), x, y, path=f"{folder}/store")
    sampled = seconds["all"] - seconds["write"]
    print(f"{draws} draws of {steps} steps, {BATCH} rows each: {sampled:.1f} s")
    write = seconds.pop("write")
    print(f"writing them: {write:.1f} s, {write / sampled:.1%} of it")
    print({name: round(value, 2) for name, value in seconds.items()})


def killed_runs(kills, num_samples=2000):
    """Kill a run again and again; compare with one that was left alone."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path, reference = Path(folder) / "killed", Path(folder) / "whole"
        command = [sys.executable, store_runs.__file__]
        options = [str(num_samples)]
        subprocess.run([*command, str(reference), *options], check=True)
        state, done = path / ".numpyro_pl" / "state.npz", []
        for _ in range(kills):
            before = state.stat().st_mtime_ns if state.exists() else None
            process = subprocess.Popen([*command, str(path), *options])
            # Imports and compilation take most of the time: wait for the first chunk.
            while not state.exists() or state.stat().st_mtime_ns == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 1.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
            done.append(load_checkpoint(state)[0]["num_draws"])
        subprocess.run([*command, str(path), *options], check=True)
        same = store_runs.contents(path) == store_runs.contents(reference)
    print(f"{kills} kills, draws after each: {done}")
    print("equal to a run without interruption, every byte:", same)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if options.kills:
        killed_runs(options.kills)
    if options.draws:
        cost_of_writing(options.draws, options.steps)


if __name__ == "__main__":
    main()
