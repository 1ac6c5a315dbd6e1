# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Chains on the ordinary models, and where they end relative to NUTS."""

import json
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from numpyro.diagnostics import split_gelman_rubin
from numpyro.infer import MCMC
from ordinary_models import Problem

from numpyro_pl import PseudoLangevin

__all__ = ["REFERENCES", "Outcome", "known_references", "outcome"]

REFERENCES = Path(__file__).parent / "ordinary_references.json"
"""Potentials of NUTS, from `tests/benchmarks/ordinary_references.py`."""


def known_references():
    """The potentials of NUTS by model."""
    return json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}


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
