# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The digits example beside the stored reference of NUTS."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpyro_pl import diagnostics

__all__ = ["REFERENCE", "Reference", "measured", "reference"]

REFERENCE = Path(__file__).parent / "digits_reference.npz"
"""What NUTS gave, from `tests/benchmarks/digits_reference.py`."""


class Reference(NamedTuple):
    """
    - **probs** - mean probabilities of the test images, of shape (images, classes).
    - **potential** - mean potential, in nats.
    - **potential_sd** - its standard deviation.
    """

    probs: np.ndarray
    potential: float
    potential_sd: float


def reference() -> Reference:
    """The stored reference."""
    with np.load(REFERENCE) as stored:
        return Reference(*(stored[name] for name in Reference._fields))


def measured(run: Any, nuts: Reference) -> dict[str, float]:
    """
    Figures of a run of the example; differences are those from NUTS.

    :param run: a `Posterior` of `examples/bnn_digits.py`.
    :param Reference nuts: the reference.
    """
    state = run.mcmc.last_state
    fields = run.mcmc.get_extra_fields()
    by_chain = [diagnostics.total_variation(p, nuts.probs) for p in run.probs]
    return {
        "divergences": int(np.sum(state.num_divergences)),
        "kinetic_temperature": float(np.mean(state.mean_kinetic_temperature)),
        "noise_fraction": float(np.mean(fields["noise_fraction"])),
        "potential_diff_sd": float(run.potential.mean() - nuts.potential)
        / float(nuts.potential_sd),
        "total_variation": diagnostics.total_variation(run.probs, nuts.probs),
        "total_variation_chain": float(np.mean(by_chain)),
    }
