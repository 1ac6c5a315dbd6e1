# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How far a posterior is from a reference: in its parameters, in its predictions, and in
the function that it learned. How it changes with the temperature, how far chains
travel, how normal the minibatch noise is, and a report on a run.
"""

from numpyro_pl.diagnostics.classification import classification_metrics
from numpyro_pl.diagnostics.comparison import compare
from numpyro_pl.diagnostics.configurational import configurational_temperature
from numpyro_pl.diagnostics.function_rhat import (
    RhatSummary,
    function_rhat,
    summarize_rhat,
)
from numpyro_pl.diagnostics.minibatch_noise import minibatch_noise, noise_normality
from numpyro_pl.diagnostics.predictions import predictive_probabilities
from numpyro_pl.diagnostics.regression_scores import (
    Score,
    crps,
    interval_coverage,
    log_predictive_density,
)
from numpyro_pl.diagnostics.report import Report, report
from numpyro_pl.diagnostics.scores import (
    CalibrationCurve,
    accuracy,
    agreement,
    calibration_curve,
    expected_calibration_error,
    log_loss,
    total_variation,
)
from numpyro_pl.diagnostics.temperatures import temperature_sweep
from numpyro_pl.diagnostics.travel import squared_distance

__all__ = [
    "CalibrationCurve",
    "Report",
    "RhatSummary",
    "Score",
    "accuracy",
    "agreement",
    "calibration_curve",
    "classification_metrics",
    "compare",
    "configurational_temperature",
    "crps",
    "expected_calibration_error",
    "function_rhat",
    "interval_coverage",
    "log_loss",
    "log_predictive_density",
    "minibatch_noise",
    "noise_normality",
    "predictive_probabilities",
    "report",
    "squared_distance",
    "summarize_rhat",
    "temperature_sweep",
    "total_variation",
]
