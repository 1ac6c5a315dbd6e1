# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Default settings on models for which nothing was tuned: where four chains end, against
NUTS (`tests/ordinary_references.json`), and what share of random small networks
settles. ::

    PYTHONPATH=tests python tests/benchmarks/bench_warmup.py --models mixture --seeds 2
    PYTHONPATH=tests python tests/benchmarks/bench_warmup.py --random 200

A network takes two to five minutes on two cores, a random one half a minute.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from numpyro.diagnostics import split_gelman_rubin
from numpyro.infer import (
    MCMC,
    init_to_median,
    init_to_sample,
    init_to_uniform,
)
from ordinary_models import PROBLEMS, Problem, random_network

from numpyro_pl import PseudoLangevin, init_to_map

REFERENCES = Path(__file__).parents[1] / "ordinary_references.json"

STARTS = {
    "uniform": init_to_uniform,
    "sample": init_to_sample,
    "median": init_to_median,
    "map": init_to_map,
}


class Outcome(NamedTuple):
    """
    Where chains ended.

    - **off** - mean potential less that of NUTS, in its standard deviations; NaN
      without a reference.
    - **sd_ratio** - standard deviation of the potential relative to that of NUTS.
    - **r_hat** - split R-hat of the potential.
    - **temperature** - mean kinetic temperature relative to the target.
    - **divergences** - divergent draws after warmup.
    - **finite** - whether the last state is finite.
    - **said** - warnings.
    - **seconds** - of the run, compilation included.
    """

    off: float
    sd_ratio: float
    r_hat: float
    temperature: float
    divergences: int
    finite: bool
    said: list[str]
    seconds: float

    @property
    def settled(self) -> bool:
        """Whether chains agree with each other, and with the reference if any."""
        good = self.finite and self.r_hat < 1.05 and abs(self.temperature - 1) < 0.02
        near = np.isnan(self.off) or abs(self.off) < 0.5
        return bool(good and near and self.divergences == 0)


def outcome(
    problem: Problem, seed: int, draws: tuple[int, int], reference=None, **settings
) -> Outcome:
    """
    Four chains from their default start.

    :param draws: warmup draws and draws.
    :param dict reference: an entry of `tests/ordinary_references.json`.
    """
    kernel = PseudoLangevin(problem.minibatch, **settings)
    mcmc = MCMC(
        kernel,
        num_warmup=draws[0],
        num_samples=draws[1],
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("potential_energy", "kinetic_temperature", "diverging")
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mcmc.run(jax.random.key(seed), *problem.args, extra_fields=fields)
        values = mcmc.get_extra_fields(group_by_chain=True)
        energy = np.asarray(values["potential_energy"], np.float64)
        jax.effects_barrier()
    known = reference or {"mean": np.nan, "sd": np.nan}
    temperature = float(np.mean(values["kinetic_temperature"]))
    last = jax.tree.leaves(mcmc.last_state.z)
    return Outcome(
        off=(energy.mean() - known["mean"]) / known["sd"],
        sd_ratio=energy.std(1).mean() / known["sd"],
        r_hat=float(split_gelman_rubin(energy)),
        temperature=temperature / settings.get("temperature", 1.0),
        divergences=int(np.sum(values["diverging"])),
        finite=all(np.isfinite(x).all() for x in last) and np.isfinite(energy).all(),
        said=[str(w.message) for w in caught if w.category is UserWarning],
        seconds=time.perf_counter() - start,
    )


def row(name, one: Outcome) -> str:
    """One line of the table."""
    said = "; warned" if one.said else ""
    return (
        f"{name:32s} {one.off:+6.2f} {one.sd_ratio:5.2f} {one.r_hat:6.3f} "
        f"{one.temperature:7.3f} {one.divergences:4d} {one.seconds:6.0f} s  "
        f"{'settled' if one.settled else 'not settled'}{said}"
    )


def models(names, seeds, draws, starts):
    """The table of the named models."""
    known = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    print(f"{'model':32s} {'off':>6s} {'sd':>5s} {'R-hat':>6s} {'T':>7s} {'div':>4s}")
    for name in names:
        for start in starts:
            for seed in range(seeds):
                one = outcome(
                    PROBLEMS[name](),
                    seed,
                    draws,
                    known.get(name),
                    init_strategy=STARTS[start](),
                )
                print(row(f"{name} {start} {seed}", one), flush=True)


def random_networks(num, first, draws):
    """The share of random networks that settles, and those that do not."""
    settled = silent = 0
    for seed in range(first, first + num):
        problem, settings = random_network(seed)
        one = outcome(problem, seed, draws)
        settled += one.settled
        silent += not one.said and (not one.finite or one.temperature > 1.1)
        print(row(f"{seed} " + " ".join(map(str, settings.values())), one), flush=True)
        jax.clear_caches()
    print(f"settled: {settled} of {num}; too hot or not finite in silence: {silent}")


def main():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--models", nargs="*", default=[], choices=sorted(PROBLEMS))
    parser.add_argument("--starts", nargs="*", default=["uniform"], choices=STARTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--num-warmup", type=int, default=500)
    parser.add_argument("--num-samples", type=int, default=1000)
    options = parser.parse_args()
    draws = options.num_warmup, options.num_samples
    models(options.models, options.seeds, draws, options.starts)
    if options.random:
        random_networks(options.random, options.first, draws)


if __name__ == "__main__":
    main()
