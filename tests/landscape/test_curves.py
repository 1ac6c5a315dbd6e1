# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from landscape_problems import (
    KEY,
    quadratic_loss,
    quadratic_problem,
    quadratic_solution,
)

from numpyro_pl.landscape import CurveBudget, Solution, stabilization_curve


@pytest.fixture(scope="module")
def curve():
    return stabilization_curve(
        quadratic_solution(8, 700, seed=5),
        [20, 40, 80, 160, 320, 640],
        eigenspace=3,
        sigma=1e-3,
        budget=CurveBudget(num_samples=8, num_orderings=4, num_next=32),
        rng_key=KEY,
    )


def test_curve_decays_as_published(curve):
    # Each point is a mean over 32 next examples and 4 orderings; over 1.5 decades the
    # slopes scatter by about 0.05 and 0.1.
    assert curve.delta1.shape == curve.delta2.shape == curve.delta2_subspace.shape
    for name, slope, tolerance in [
        ("delta1", -1, 0.15),
        ("delta2", -2, 0.3),
        ("delta2_subspace", -2, 0.3),
    ]:
        found = curve.slopes[name]
        assert found.value == pytest.approx(slope, abs=tolerance)
        assert found.low < found.value < found.high
    # At a small sigma the two differ by terms of order sigma.
    assert curve.delta2_subspace == pytest.approx(curve.delta2, rel=1e-2)


def test_curve_agrees_with_the_criteria_at_one_k():
    # With one candidate for the next example and almost no perturbation, the two
    # mean-squared criteria are the square of the first: three separate computations.
    _, params, data, *_ = quadratic_problem(8, 40, seed=6)
    found = stabilization_curve(
        Solution(quadratic_loss, params, data),
        [20, 39],
        eigenspace=3,
        sigma=1e-6,
        budget=CurveBudget(num_samples=2, num_orderings=2, num_next=1),
        rng_key=KEY,
    )
    assert found.delta2 == pytest.approx(found.delta1**2, rel=1e-3)
    assert found.delta2_subspace == pytest.approx(found.delta1**2, rel=1e-3)
    # All 40 examples but one: the increment of the one left out, whichever it is.
    losses = np.asarray(quadratic_loss(params, data), float)
    left_out = np.abs(losses - (losses.sum() - losses) / 39) / 40
    for value in found.delta1[:, 1]:
        assert np.abs(left_out / value - 1).min() < 1e-4


@pytest.mark.parametrize(
    ("ks", "changes", "message"),
    [
        ([20, 10], {}, "at least two k"),
        ([20], {}, "at least two k"),
        ([20, 39], {}, "outside the data"),
        ([10, 20], {"sigma": 0.0}, "sigma must be positive and finite"),
        ([10, 20], {"eigenspace": 9}, "between 1 and the number of parameters, 8"),
        (
            [10, 20],
            {"budget": CurveBudget(num_orderings=1)},
            "num_orderings must be 2 or more, got 1",
        ),
        (
            [10, 20],
            {"budget": CurveBudget(num_samples=1)},
            "num_samples must be 2 or more, got 1",
        ),
        (
            [10, 20],
            {"budget": CurveBudget(num_next=0)},
            "num_next must be a positive whole number",
        ),
    ],
)
def test_bad_settings_of_a_curve(ks, changes, message):
    settings = {"eigenspace": 2, "sigma": 0.1, "rng_key": KEY, **changes}
    solution = quadratic_solution(8, 40)
    with pytest.raises(ValueError, match=message):
        stabilization_curve(solution, ks, **settings)
