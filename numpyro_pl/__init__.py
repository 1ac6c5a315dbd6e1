# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch Langevin MCMC for NumPyro."""

from numpyro_pl import (
    datasets,
    diagnostics,
    dynamics,
    landscape,
    optim,
    plots,
    store,
)
from numpyro_pl.diagnostics import compare, report, temperature_sweep
from numpyro_pl.kernels.partitioned import PartitionedLangevin
from numpyro_pl.kernels.pseudo_langevin import PseudoLangevin
from numpyro_pl.kernels.published import PublishedPseudoLangevin
from numpyro_pl.kernels.ready_made import (
    LOL,
    SGHMC,
    SGLD,
    SGNHT,
    AdLaLa,
    MultilayerLangevin,
)
from numpyro_pl.optim import find_map, init_to_map, random_scaled_sgdm
from numpyro_pl.store import predict, sample_to_store, streamed

__version__ = "0.1.0"

__all__ = [
    "LOL",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "AdLaLa",
    "MultilayerLangevin",
    "PartitionedLangevin",
    "PseudoLangevin",
    "PublishedPseudoLangevin",
    "compare",
    "datasets",
    "diagnostics",
    "dynamics",
    "find_map",
    "init_to_map",
    "landscape",
    "optim",
    "plots",
    "predict",
    "random_scaled_sgdm",
    "report",
    "sample_to_store",
    "store",
    "streamed",
    "temperature_sweep",
]


def __dir__():
    """Only the public names: internal subpackages are not shown."""
    return sorted([*__all__, "__version__"])
