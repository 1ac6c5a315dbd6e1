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

import jax
from numpyro.infer import init_to_median, init_to_sample, init_to_uniform
from ordinary_models import PROBLEMS, random_network
from ordinary_runs import Outcome, known_references, outcome

from numpyro_pl import init_to_map

STARTS = {
    "uniform": init_to_uniform,
    "sample": init_to_sample,
    "median": init_to_median,
    "map": init_to_map,
}


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
    known = known_references()
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
