# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Plots of chains and their dynamics, of predictions, of sweeps and of landscapes.

Every function draws on the axes given, or on new ones, and returns them. Matplotlib is
optional and is imported by the first plot.
"""

from numpyro_pl.plots.chains import plot_noise, plot_temperature, plot_traces
from numpyro_pl.plots.comparison import plot_differences
from numpyro_pl.plots.dynamics import plot_minibatch_noise, plot_squared_distance
from numpyro_pl.plots.landscape import (
    plot_quadratic_validity,
    plot_spectrum,
    plot_stabilization,
)
from numpyro_pl.plots.predictions import plot_calibration, plot_predictive_comparison
from numpyro_pl.plots.regions import plot_decision_regions
from numpyro_pl.plots.regression import plot_coverage, plot_predictive_bands
from numpyro_pl.plots.sweeps import plot_temperature_sweep

__all__ = [
    "plot_calibration",
    "plot_coverage",
    "plot_decision_regions",
    "plot_differences",
    "plot_minibatch_noise",
    "plot_noise",
    "plot_predictive_bands",
    "plot_predictive_comparison",
    "plot_quadratic_validity",
    "plot_spectrum",
    "plot_squared_distance",
    "plot_stabilization",
    "plot_temperature",
    "plot_temperature_sweep",
    "plot_traces",
]
