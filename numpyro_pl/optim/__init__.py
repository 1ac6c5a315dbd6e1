# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Optimizers and the search for a mode: random-scaled SGD with momentum
(arXiv:2405.09742), averages of iterates, MAP values of a model, warm starts of chains.
"""

from numpyro_pl.optim.averaging import (
    AverageIteratesState,
    average_iterates,
    averaged_params,
)
from numpyro_pl.optim.find_map import MAPResult, find_map
from numpyro_pl.optim.init_to_map import init_to_map
from numpyro_pl.optim.map_problem import default_optimizer
from numpyro_pl.optim.random_scaled_sgdm import (
    ScaleByRandomState,
    fold_in_stream,
    random_scaled_sgdm,
    scale_by_random,
)

__all__ = [
    "AverageIteratesState",
    "MAPResult",
    "ScaleByRandomState",
    "average_iterates",
    "averaged_params",
    "default_optimizer",
    "find_map",
    "fold_in_stream",
    "init_to_map",
    "random_scaled_sgdm",
    "scale_by_random",
]
