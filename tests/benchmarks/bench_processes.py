# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The digits network on several processes of this machine, each with its share of the
images, against NUTS: whether the processes have the same draws, and where they are. ::

    PYTHONPATH=tests:examples python tests/benchmarks/bench_processes.py [--number 2]

At each step the processes wait for each other three times, which on one machine takes
longer than the step: 60,000 steps take up to twenty minutes.
"""

import argparse
import tempfile
from pathlib import Path

import bnn_digits
import numpy as np
from started_processes import finish, processes

from numpyro_pl import datasets, diagnostics

LONGEST = 3600
"""Seconds after which processes are ended."""


def draws_of_processes(number, warmup, draws) -> list[dict]:
    """What each process has found, by site and field."""
    script = Path(__file__).parent / "digits_process.py"
    with tempfile.TemporaryDirectory() as name:
        folder, what = Path(name), (str(warmup), str(draws))
        with processes(script, folder, *what, number=number) as started:
            finish(folder, started, LONGEST)
        files = [folder / f"draws_{i}.npz" for i in range(number)]
        return [dict(np.load(file)) for file in files]


def nuts_reference(path) -> tuple[np.ndarray, np.ndarray]:
    """Potentials and class probabilities of NUTS, from a file if there is one."""
    if path is not None and path.exists():
        found = np.load(path)
        return found["potential"], found["probs"]
    nuts = bnn_digits.sample_nuts(seed=0)
    if path is not None:
        np.savez(path, potential=nuts.potential, probs=nuts.probs)
    return nuts.potential, nuts.probs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--number", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--reference", type=Path, help="where NUTS is kept")
    options = parser.parse_args()
    found, *others = draws_of_processes(options.number, options.warmup, options.draws)
    sites = (*bnn_digits.SHAPES, "potential_energy")
    same = all(np.array_equal(found[s], other[s]) for other in others for s in sites)
    print(f"{options.number} processes, {found['seconds']:.0f} s; same draws: {same}")
    potential, reference = nuts_reference(options.reference)
    energy = found["potential_energy"]
    weights = {site: found[site] for site in bnn_digits.SHAPES}
    probs = diagnostics.predictive_probabilities(
        bnn_digits.probabilities, weights, datasets.digits().x_test, batch_ndims=2
    )
    print(
        f"potential {(energy.mean() - potential.mean()) / potential.std():+.2f} sd, "
        f"ratio of sd {energy.std() / potential.std():.2f}, "
        f"kinetic temperature {found['kinetic_temperature'].mean():.4f}, "
        f"total variation {diagnostics.total_variation(probs, reference):.4f}, "
        f"agreement {diagnostics.agreement(probs, reference):.4f}"
    )


if __name__ == "__main__":
    main()
