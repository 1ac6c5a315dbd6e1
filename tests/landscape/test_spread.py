# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from landscape_problems import (
    KEY,
    cubic_loss,
    quadratic_loss,
    quadratic_problem,
    quadratic_solution,
)

from numpyro_pl.landscape import (
    Solution,
    delta2_over_draws,
    delta2_subspace,
    quadratic_validity,
    top_eigenspace,
)


def test_quadratic_validity_has_the_order_of_a_cubic_and_is_warned_about():
    X = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    solution = Solution(cubic_loss, jnp.ones(4), X)
    settings = {"eigenspace": 2, "rng_key": KEY}
    sigmas = [0.02, 0.04, 0.5]
    found = quadratic_validity(solution, 20, sigmas=sigmas, num_samples=64, **settings)
    # The increment at w dominates the small ones, so the cubic remainder shows:
    # doubling sigma multiplies the error by 8.
    error = found.relative_error
    assert error[1] / error[0] == pytest.approx(8, rel=0.25)
    assert error[1] < found.tol < error[2]
    assert found.trusted_sigma == 0.04
    none = quadratic_validity(solution, 20, sigmas=[5.0], **settings)
    assert none.trusted_sigma == 0
    for estimator in ("gaussian_moment", "quadratic_mc"):
        delta2_subspace(solution, 20, sigma=0.02, estimator=estimator, **settings)
        with pytest.warns(
            UserWarning, match="quadratic model of the increment is off"
        ) as record:
            delta2_subspace(solution, 20, sigma=0.5, estimator=estimator, **settings)
        assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        delta2_subspace(solution, 20, sigma=0.5, estimator="direct_mc", **settings)


def test_delta2_over_draws():
    _, params, data, *_ = quadratic_problem(8, 40)
    scales = jnp.linspace(0.5, 1.5, 10)
    draws = jax.tree.map(lambda x: scales.reshape(-1, *[1] * x.ndim) * x, params)
    found = delta2_over_draws(
        quadratic_loss,
        draws,
        data,
        30,
        rng_key=KEY,
        max_draws=4,
        eigenspace=3,
        sigma=0.1,
    )
    # The Hessian of a quadratic is the same at each draw.
    solution = Solution(quadratic_loss, params, data)
    space = top_eigenspace(solution, 30, dim=3, rng_key=KEY)
    for value, i in zip(found.values, [0, 3, 6, 9], strict=True):
        one = jax.tree.map(lambda x, i=i: x[i], draws)
        expected = delta2_subspace(
            Solution(quadratic_loss, one, data),
            30,
            sigma=0.1,
            rng_key=KEY,
            eigenspace=space,
        )
        assert value == pytest.approx(expected.value, rel=1e-5)
    assert found.mean == pytest.approx(found.values.mean())
    assert found.standard_deviation > 0
    assert (np.diff(found.quantiles) > 0).all()


def test_bad_settings_of_the_spread():
    _, _, data, *_ = quadratic_problem(8, 40)
    solution = quadratic_solution(8, 40)
    settings = {"eigenspace": 2, "rng_key": KEY}
    with pytest.raises(ValueError, match="sigmas is empty"):
        quadratic_validity(solution, 20, sigmas=[], **settings)
    with pytest.raises(ValueError, match=r"sigmas\[0\] must be positive and finite"):
        quadratic_validity(solution, 20, sigmas=[0.1, 0.0], **settings)
    with pytest.raises(ValueError, match="tol must be positive and finite"):
        quadratic_validity(solution, 20, sigmas=[0.1], tol=0.0, **settings)
    draws = {"u": jnp.zeros((3, 2, 2)), "v": jnp.zeros((4, 4))}
    with pytest.raises(ValueError, match="leading axis of draws"):
        delta2_over_draws(quadratic_loss, draws, data, 20, sigma=0.1, **settings)
    draws = {"u": jnp.zeros((3, 2, 2)), "v": jnp.zeros((3, 4))}
    with pytest.raises(ValueError, match="max_draws must be a positive whole number"):
        delta2_over_draws(
            quadratic_loss, draws, data, 20, sigma=0.1, max_draws=0, **settings
        )
