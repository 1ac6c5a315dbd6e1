"""
Time from `mcmc.run` to the first draw of the network of `examples/bnn_digits.py` (four
vectorized chains), the programs that are compiled for it, and where their time goes.

    python tests/benchmarks/bench_compile.py [--rounds 3] [--against CHECKOUT] [--cache]

Every measurement is a process of its own. With `--against`, this version and another
checkout of the package are measured in turns; with `--cache`, a start without JAX's
persistent compilation cache, one that fills it, and one that reads it. CPU seconds,
which other processes on the machine hardly change, are given beside those on the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PARTS = {
    "jaxpr_trace_duration": "tracing",
    "jaxpr_to_mlir_module_duration": "lowering",
    "backend_compile_duration": "compiling",
}
COLUMNS = ("seconds", "cpu_seconds", "programs", *PARTS.values())


def first_draw(settings: dict) -> dict:
    """
    Seconds to the first draw in this process, on the clock and of CPU; those of tracing
    and compiling on the clock, and the number of programs.

    :param settings: settings of the kernel.
    """
    import jax
    from bnn_digits import BATCH, CHAINS, model
    from numpyro.infer import MCMC

    from numpyro_pl import PseudoLangevin, datasets

    data = datasets.digits()
    figures = dict.fromkeys(COLUMNS, 0.0)

    def add(event: str, seconds: float, **kwargs) -> None:
        part = PARTS.get(event.rsplit("/", 1)[-1])
        if part is not None:
            figures[part] += seconds
            figures["programs"] += part == "compiling"

    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    jax.monitoring.register_event_duration_secs_listener(add)
    kernel = PseudoLangevin(lambda x, y: model(x, y, subsample_size=BATCH), **settings)
    mcmc = MCMC(
        kernel,
        num_warmup=1,
        num_samples=1,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    start, cpu_start = time.perf_counter(), time.process_time()
    mcmc.run(jax.random.key(0), data.x_train, data.y_train)
    jax.block_until_ready(mcmc.get_samples())
    figures["seconds"] = time.perf_counter() - start
    figures["cpu_seconds"] = time.process_time() - cpu_start
    return figures


def in_a_process(checkout: Path, cache: str | None = None) -> dict:
    """
    Figures of :func:`first_draw` in a fresh process.

    :param checkout: of the package that is measured.
    :param cache: folder of the compilation cache, None for none. A program that may
        warn is not kept there.
    """
    places = (checkout, ROOT / "examples")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, places)))
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    if cache is not None:
        env["JAX_COMPILATION_CACHE_DIR"] = cache
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    settings = {} if cache is None else {"warn": False}
    command = [sys.executable, __file__, "--one", json.dumps(settings)]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(rounds: int, against: Path | None, cache: bool) -> dict[str, list[dict]]:
    """Figures of every round by kind of start."""
    found: dict[str, list[dict]] = {}
    for _ in range(rounds):
        found.setdefault("this version", []).append(in_a_process(ROOT))
        if against is not None:
            found.setdefault("the other one", []).append(in_a_process(against))
        if cache:
            with tempfile.TemporaryDirectory() as folder:
                for kind in ("fills the cache", "reads the cache"):
                    found.setdefault(kind, []).append(in_a_process(ROOT, folder))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(first_draw(json.loads(options.one))))
        return
    print("medians of the rounds:".ljust(24), *(f"{c:>12}" for c in COLUMNS))
    found = measure(options.rounds, options.against, options.cache)
    for kind, rounds in found.items():
        medians = [np.median([one[c] for one in rounds]) for c in COLUMNS]
        print(kind.ljust(24), *(f"{m:12.2f}" for m in medians))


if __name__ == "__main__":
    main()
