# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch Langevin MCMC for NumPyro."""

from numpyro_pl import datasets, diagnostics, plots
from numpyro_pl.diagnostics import (
    agreement,
    compare,
    function_rhat,
    predictive_probabilities,
    total_variation,
)
from numpyro_pl.kernels.pseudo_langevin import PseudoLangevin

__version__ = "0.1.0"

__all__ = [
    "PseudoLangevin",
    "agreement",
    "compare",
    "datasets",
    "diagnostics",
    "function_rhat",
    "plots",
    "predictive_probabilities",
    "total_variation",
]
