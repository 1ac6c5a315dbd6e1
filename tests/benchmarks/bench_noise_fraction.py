# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What a noise fraction costs and what it buys on the digits network: bias, mixing, and
the error of the predictions after the same number of gradients, with friction from the
examples and without. ::

    python tests/benchmarks/bench_noise_fraction.py

Twelve runs of four chains of 60,000 steps, some 40 seconds each on two cores, beside
four chains of NUTS.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from numpyro_pl import PseudoLangevin

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import bnn_digits

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Those that warmup aims for."""
STEPS = 100
"""Steps of a draw, the same for all."""
FRICTIONS = {"with": True, "without": False}
"""Values of `example_friction`."""
KEPT = {
    "potential_diff_sd": "off",
    "potential_sd_ratio": "sd_ratio",
    "potential_ess": "ess",
    "potential_rhat": "r_hat",
    "kinetic_temperature": "temperature",
    "noise_fraction": "noise_fraction",
    "total_variation": "total_variation",
    "total_variation_chain": "total_variation_chain",
    "divergences": "divergences",
}
"""Figures of `bnn_digits.measure`, and their names here."""


def measure(nuts, quick: bool = False, fractions=FRACTIONS) -> dict[str, Any]:
    """
    Figures by friction and by noise fraction.

    :param nuts: reference, from `bnn_digits.sample_nuts`.
    :param quick: whether to make a tenth of the draws.
    """
    return {
        friction: {
            fraction: _figures(fraction, setting, nuts, quick) for fraction in fractions
        }
        for friction, setting in FRICTIONS.items()
    }


def _figures(fraction: float, friction: Any, nuts, quick: bool) -> dict[str, float]:
    """One run of four chains against NUTS."""
    kernel = partial(
        PseudoLangevin,
        noise_fraction=fraction,
        example_friction=friction,
        # Else the warmup makes draws longer where chains mix slowly.
        num_steps=STEPS,
    )
    one = bnn_digits.measure(bnn_digits.sample_langevin(0, quick, kernel), nuts)
    return {name: one[long] for long, name in KEPT.items()}


def main() -> None:
    """Print all figures."""
    nuts = bnn_digits.sample_nuts(0, num_chains=4, num_samples=1000)
    for friction, rows in measure(nuts).items():
        for fraction, one in rows.items():
            figures = "  ".join(f"{name} {value:.4g}" for name, value in one.items())
            print(f"{friction} friction, {fraction}: {figures}")


if __name__ == "__main__":
    main()
