# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch Langevin MCMC for NumPyro."""

from numpyro_pl import datasets, diagnostics, landscape, plots
from numpyro_pl.diagnostics import (
    agreement,
    compare,
    function_rhat,
    predictive_probabilities,
    total_variation,
)
from numpyro_pl.dynamics.langevin import (
    AdaptiveLangevin,
    Langevin,
    OverdampedLangevin,
)
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics
from numpyro_pl.kernels.partitioned import PartitionedLangevin
from numpyro_pl.kernels.pseudo_langevin import PseudoLangevin
from numpyro_pl.kernels.ready_made import (
    LOL,
    SGHMC,
    SGLD,
    SGNHT,
    AdLaLa,
    MultilayerLangevin,
)
from numpyro_pl.map_search import MAPResult, find_map
from numpyro_pl.optim import random_scaled_sgdm, scale_by_random
from numpyro_pl.warm_start import init_to_map

__version__ = "0.1.0"

__all__ = [
    "LOL",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "AdLaLa",
    "AdaptiveLangevin",
    "Langevin",
    "MAPResult",
    "MultilayerLangevin",
    "OverdampedLangevin",
    "PartitionedLangevin",
    "PseudoLangevin",
    "PseudoLangevinDynamics",
    "agreement",
    "compare",
    "datasets",
    "diagnostics",
    "find_map",
    "function_rhat",
    "init_to_map",
    "landscape",
    "plots",
    "predictive_probabilities",
    "random_scaled_sgdm",
    "scale_by_random",
    "total_variation",
]
