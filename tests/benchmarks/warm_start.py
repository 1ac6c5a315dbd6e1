# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warmup draws that a warm start saves, on the Bayesian neural network of
``examples/bnn_digits.py``.

Four vectorized chains with default settings (a draw is one pass over the data) start
at random or at MAP values of their own; their first draws after warmups of several
lengths are compared with long runs. A warmup suffices where, with every key and at
every longer warmup too, the mean potential of the first draws is within half a
posterior standard deviation of that of the long runs. ::

    python tests/benchmarks/warm_start.py
    python tests/benchmarks/warm_start.py --warmups 25 100 --keys 1 --long 300
"""

import argparse
import sys
import time
import warnings
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
WARMUPS = (25, 50, 100, 200, 400, 800, 1600)
SEARCHES = (100, 500, 2000)
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


def sample(key, num_warmup: int, num_samples: int, search: int | None) -> Draws:
    """Run the chains; `search` is the number of steps of the MAP search, if any."""
    data = datasets.digits()
    strategy = None if search is None else init_to_map(num_steps=search)
    mcmc = MCMC(
        PseudoLangevin(
            partial(bnn_digits.model, subsample_size=bnn_digits.BATCH),
            init_strategy=strategy,
        ),
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    names = ("potential_energy", "kinetic_temperature")
    with warnings.catch_warnings():
        # A warmup that is too short may diverge: that is what the table shows.
        warnings.filterwarnings("ignore", message=".*draws diverged")
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
    The shortest warmup from which on all are within the criterion.

    :param offsets: of shape (warmups, keys), in posterior standard deviations.
    """
    arrived = (np.abs(offsets) < WITHIN).all(-1)
    from_here_on = np.logical_and.accumulate(arrived[::-1])[::-1]
    return warmups[int(from_here_on.argmax())] if from_here_on.any() else None


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

    long_runs = [
        sample(random.key(1000 + k), 1500, args.long, None) for k in range(args.keys)
    ]
    potential = np.concatenate([run.potential for run in long_runs])
    mean, sd = potential.mean(), potential.std()
    chain_sd = potential.mean(1).std(ddof=1)
    log_losses = np.array([run.log_loss for run in long_runs])
    print(
        f"long runs: potential {mean:.1f}, sd {sd:.1f} (of the means of chains "
        f"{chain_sd:.1f}); test log-loss {log_losses.round(4)}"
    )

    columns = {}
    for search in (None, *args.searches):
        name = "random" if search is None else f"MAP, {search} steps"
        offsets = np.empty((len(args.warmups), args.keys))
        for i, warmup in enumerate(args.warmups):
            runs = [
                sample(random.key(k), warmup, args.draws, search)
                for k in range(args.keys)
            ]
            offsets[i] = [(run.potential.mean() - mean) / sd for run in runs]
            excess = [run.log_loss - log_losses.mean() for run in runs]
            first = np.mean([run.potential[:, 0].mean() - mean for run in runs]) / sd
            print(
                f"{name:16s} warmup {warmup:5d}: potential {offsets[i].round(2)} sd "
                f"(first draw {first:.2f}), log-loss {np.round(excess, 4)}, "
                f"temperature {np.round([run.temperature for run in runs], 3)}",
                flush=True,
            )
        columns[name] = (needed(args.warmups, offsets), passes(search))

    print(f"\n{'start':16s} warmup draws   passes of the search   both")
    for name, (draws, cost) in columns.items():
        if draws is None:
            print(f"{name:16s} more than {max(args.warmups)}")
        else:
            print(f"{name:16s} {draws:12d}   {cost:20.0f}   {draws + cost:4.0f}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
