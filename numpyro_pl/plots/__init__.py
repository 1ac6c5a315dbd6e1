# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Plots of chains, of predictions and of landscapes.

Every function draws on the axes given, or on new ones, and returns them. Matplotlib is
optional and is imported by the first plot.
"""

from numpyro_pl.plots.chains import plot_temperature, plot_traces
from numpyro_pl.plots.landscape import (
    plot_quadratic_validity,
    plot_spectrum,
    plot_stabilization,
)
from numpyro_pl.plots.predictions import plot_calibration, plot_predictive_comparison

__all__ = [
    "plot_calibration",
    "plot_predictive_comparison",
    "plot_quadratic_validity",
    "plot_spectrum",
    "plot_stabilization",
    "plot_temperature",
    "plot_traces",
]
