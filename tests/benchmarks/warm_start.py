# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warmup draws that a warm start saves, on the Bayesian neural network of
``examples/bnn_digits.py``.

Four vectorized chains with default settings (a draw is one pass over the data) start
at random or at MAP values of their own; their first draws after warmups of several
lengths are compared with long runs. A warmup suffices where, at every longer warmup
too, the mean potential of the first draws over all keys is within half a posterior
standard deviation of that of the long runs. ::

    python tests/benchmarks/warm_start.py
    python tests/benchmarks/warm_start.py --warmups 25 100 --keys 1 --long 300
"""

import argparse
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax import random
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin, datasets, diagnostics, init_to_map

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import bnn_digits

CHAINS = 4
WARMUPS = (25, 50, 100, 200, 400)
LONG_WARMUP = 1500
SEARCHES = (100, 2000)
WITHIN = 0.5
"""Posterior standard deviations of the potential that count as arrived."""


class Draws(NamedTuple):
    """
    What is kept of a run.

    - **potential** - on all training data, of shape (chain, draw).
    - **log_loss** - of the pooled draws' predictions for the test data, nats a point.
    - **temperature** - mean kinetic temperature.
    """

    potential: np.ndarray
    log_loss: float
    temperature: float


def sample(keys, num_warmup: int, num_samples: int, search: int | None) -> list[Draws]:
    """
    Run the chains with every key; compilation, which takes longer than the draws, is
    that of one run.

    :param search: number of steps of the MAP search, if any.
    """
    start = {} if search is None else {"init_strategy": init_to_map(num_steps=search)}
    mcmc = MCMC(
        PseudoLangevin(
            partial(bnn_digits.model, subsample_size=bnn_digits.BATCH), **start
        ),
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    return [_draws(mcmc, key) for key in keys]


def _draws(mcmc: MCMC, key) -> Draws:
    data = datasets.digits()
    names = ("potential_energy", "kinetic_temperature")
    mcmc.run(key, data.x_train, data.y_train, extra_fields=names)
    probs = diagnostics.predictive_probabilities(
        bnn_digits.probabilities,
        mcmc.get_samples(group_by_chain=True),
        data.x_test,
        batch_ndims=2,
        average=True,
    )
    fields = mcmc.get_extra_fields(group_by_chain=True)
    return Draws(
        np.asarray(fields["potential_energy"], np.float64),
        diagnostics.log_loss(data.y_test, probs),
        float(np.mean(fields["kinetic_temperature"])),
    )


def passes(search: int | None) -> float:
    """Passes over the data that a MAP search takes, for each chain."""
    rows = len(datasets.digits().y_train)
    return 0.0 if search is None else search * bnn_digits.BATCH / rows


def needed(warmups, offsets) -> int | None:
    """
    The shortest warmup from which on the means over keys are within the criterion.

    :param offsets: of shape (warmups, keys), in posterior standard deviations.
    """
    arrived = np.abs(offsets.mean(-1)) < WITHIN
    from_here_on = np.logical_and.accumulate(arrived[::-1])[::-1]
    return warmups[int(from_here_on.argmax())] if from_here_on.any() else None


def measure(
    warmups=WARMUPS,
    searches=SEARCHES,
    keys: int = 2,
    draws: int = 200,
    long: int = 3500,
) -> dict:
    """
    Figures of the comparison. Prints a line for every start and warmup on its way.

    :param warmups: numbers of warmup draws.
    :param searches: numbers of steps of the MAP searches.
    :param keys: number of keys that each run is repeated with.
    :param draws: draws after warmup.
    :param long: draws of the long runs.
    :return: what the long runs have, and by start the `offsets` of the potential in
        posterior standard deviations and the `excess` of the log-loss in nats, both
        as a list over warmups of lists over keys, with the warmup `needed` and the
        `passes` of the search.
    """
    long_keys = [random.key(1000 + k) for k in range(keys)]
    long_runs = sample(long_keys, LONG_WARMUP, long, None)
    potential = np.concatenate([run.potential for run in long_runs])
    mean, sd = potential.mean(), potential.std()
    log_loss = float(np.mean([run.log_loss for run in long_runs]))
    chain_sd = float(potential.mean(1).std(ddof=1))
    print(
        f"long runs: potential {mean:.1f}, sd {sd:.1f} (of the means of chains "
        f"{chain_sd:.1f}); test log-loss {log_loss:.4f}"
    )

    starts = {}
    for search in (None, *searches):
        name = "random" if search is None else f"MAP, {search} steps"
        offsets, excess = np.empty((2, len(warmups), keys))
        for i, warmup in enumerate(warmups):
            runs = sample(map(random.key, range(keys)), warmup, draws, search)
            offsets[i] = [(run.potential.mean() - mean) / sd for run in runs]
            excess[i] = [run.log_loss - log_loss for run in runs]
            print(
                f"{name:16s} warmup {warmup:5d}: potential {offsets[i].round(2)} sd, "
                f"log-loss {excess[i].round(4)}, "
                f"temperature {np.round([run.temperature for run in runs], 3)}",
                flush=True,
            )
        starts[name] = {
            "offsets": offsets.tolist(),
            "excess": excess.tolist(),
            "needed": needed(warmups, offsets),
            "passes": passes(search),
        }
    return {
        "warmups": list(warmups),
        "within": WITHIN,
        "draws": draws,
        "long": long,
        "potential": float(mean),
        "potential_sd": float(sd),
        "potential_chain_sd": chain_sd,
        "log_loss": log_loss,
        "starts": starts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--warmups", type=int, nargs="+", default=list(WARMUPS))
    parser.add_argument("--searches", type=int, nargs="+", default=list(SEARCHES))
    parser.add_argument("--keys", type=int, default=2)
    parser.add_argument("--draws", type=int, default=200, help="draws after warmup")
    parser.add_argument("--long", type=int, default=3500, help="draws of the long runs")
    args = parser.parse_args()
    start = time.perf_counter()
    packages = ("jax", "numpyro", "numpyro_pl")
    print(jax.default_backend(), *(f"{name} {version(name)}" for name in packages))
    figures = measure(args.warmups, args.searches, args.keys, args.draws, args.long)
    print(f"\n{'start':16s} warmup draws   passes of the search   both")
    for name, one in figures["starts"].items():
        draws, cost = one["needed"], one["passes"]
        if draws is None:
            print(f"{name:16s} more than {max(args.warmups)}")
        else:
            print(f"{name:16s} {draws:12d}   {cost:20.0f}   {draws + cost:4.0f}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
