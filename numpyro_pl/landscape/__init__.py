# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Curvature-aligned loss-landscape criteria (arXiv:2604.14870): how much one more data
point changes the loss near a trained solution.
"""

from numpyro_pl.landscape.criteria import (
    Criterion,
    delta1,
    delta2,
    delta2_subspace,
    gaussian_moment,
)
from numpyro_pl.landscape.curves import (
    CurveBudget,
    Slope,
    StabilizationCurve,
    stabilization_curve,
)
from numpyro_pl.landscape.eigenspace import Eigenspace, top_eigenspace
from numpyro_pl.landscape.model import from_model
from numpyro_pl.landscape.solution import Solution
from numpyro_pl.landscape.spread import (
    CriterionOverDraws,
    QuadraticValidity,
    delta2_over_draws,
    quadratic_validity,
)

__all__ = [
    "Criterion",
    "CriterionOverDraws",
    "CurveBudget",
    "Eigenspace",
    "QuadraticValidity",
    "Slope",
    "Solution",
    "StabilizationCurve",
    "delta1",
    "delta2",
    "delta2_over_draws",
    "delta2_subspace",
    "from_model",
    "gaussian_moment",
    "quadratic_validity",
    "stabilization_curve",
    "top_eigenspace",
]
