# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Curvature-aligned loss-landscape criteria (arXiv:2604.14870): how much one more data
point changes the loss near a trained solution.
"""

from numpyro_pl.landscape._criteria import (
    Criterion,
    delta1,
    delta2,
    delta2_subspace,
    gaussian_moment,
)
from numpyro_pl.landscape._curves import (
    Slope,
    StabilizationCurve,
    stabilization_curve,
)
from numpyro_pl.landscape._eigenspace import Eigenspace, top_eigenspace
from numpyro_pl.landscape._model import ModelLoss, from_model
from numpyro_pl.landscape._plots import (
    plot_quadratic_validity,
    plot_spectrum,
    plot_stabilization,
)
from numpyro_pl.landscape._spread import (
    CriterionOverDraws,
    QuadraticValidity,
    delta2_over_draws,
    quadratic_validity,
)

__all__ = [
    "Criterion",
    "CriterionOverDraws",
    "Eigenspace",
    "ModelLoss",
    "QuadraticValidity",
    "Slope",
    "StabilizationCurve",
    "delta1",
    "delta2",
    "delta2_over_draws",
    "delta2_subspace",
    "from_model",
    "gaussian_moment",
    "plot_quadratic_validity",
    "plot_spectrum",
    "plot_stabilization",
    "quadratic_validity",
    "stabilization_curve",
    "top_eigenspace",
]
