# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from landscape_problems import quadratic_loss, quadratic_problem

from numpyro_pl.landscape import Solution


def test_a_solution_knows_its_examples_and_stays_as_it_is():
    _, params, data, *_ = quadratic_problem(8, 40)
    solution = Solution(quadratic_loss, params, data)
    assert solution.num_examples == 40
    with pytest.raises(dataclasses.FrozenInstanceError):
        solution.params = {}
    moved = dataclasses.replace(solution, chunk_size=7)
    assert moved.chunk_size == 7
    assert moved.params is params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_size": 0}, "chunk_size must be a positive whole number, got 0"),
        (
            {"per_example_loss": lambda p, d: quadratic_loss(p, d).mean()},
            "one real value for each example",
        ),
        (
            {"per_example_loss": lambda p, d: quadratic_loss(p, d)[:, None]},
            "one real value for each example",
        ),
        (
            {"per_example_loss": lambda p, d: jnp.mean(quadratic_loss(p, d))[None]},
            "one real value for each example",
        ),
        ({"params": {}}, "floating-point"),
        ({"params": {"u": jnp.arange(4), "v": jnp.ones(4)}}, "floating-point"),
        ({"data": {"A": np.zeros((3, 8, 8)), "m": np.zeros((2, 8))}}, "leading axis"),
        ({"data": {}}, "leading axis"),
    ],
)
def test_bad_solutions(changes, message):
    _, params, data, *_ = quadratic_problem(8, 40)
    given = {"per_example_loss": quadratic_loss, "params": params, "data": data}
    with pytest.raises(ValueError, match=message):
        Solution(**{**given, **changes})
