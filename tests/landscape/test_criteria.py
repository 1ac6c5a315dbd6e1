# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from landscape_problems import (
    KEY,
    as_tree,
    exact_increment,
    quadratic_loss,
    quadratic_problem,
    quadratic_solution,
    regression_loss,
)

from numpyro_pl.landscape import (
    Solution,
    delta1,
    delta2,
    delta2_subspace,
    gaussian_moment,
    top_eigenspace,
)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("chunk_size", [7, 128])
def test_delta1_is_the_difference_of_two_means(chunk_size):
    w, params, data, *_ = quadratic_problem(10, 60)
    (a, _, _), _ = exact_increment(w, data, 40)
    result = delta1(Solution(quadratic_loss, params, data, chunk_size), 40)
    assert result.value == pytest.approx(abs(a), rel=1e-5)
    assert result.a == pytest.approx(a, rel=1e-5)
    assert result.standard_error == 0


def test_delta1_does_not_cancel_in_single_precision():
    # The means differ by 1e-5 of themselves: subtracting them in single precision
    # leaves one digit or two.
    losses = 100 + np.random.default_rng(0).normal(size=20_000)
    k = 19_000
    exact = (losses[k] - losses[:k].mean()) / (k + 1)
    data = losses.astype(np.float32)
    result = delta1(Solution(lambda p, d: d + 0 * p, jnp.zeros(()), data), k)
    assert result.a == pytest.approx(exact, rel=1e-3)


def test_estimators_agree_with_the_exact_value_on_quadratics(x64):
    n, dim, k, sigma = 70, 5, 40, 1.0
    w, params, data, *_ = quadratic_problem(n, 60)
    (a, gradient, hessian), mean_hessian = exact_increment(w, data, k)
    V = np.linalg.eigh(mean_hessian)[1][:, ::-1][:, :dim]
    c, B = V.T @ gradient, V.T @ hessian @ V
    exact = a**2 + a * sigma**2 * np.trace(B) + sigma**2 * c @ c
    exact += sigma**4 / 4 * (2 * np.trace(B @ B) + np.trace(B) ** 2)
    solution = Solution(quadratic_loss, params, data)
    space = top_eigenspace(solution, k, dim=dim, rng_key=KEY, tol=1e-8)

    def run(estimator):
        return delta2_subspace(
            solution,
            k,
            sigma=sigma,
            estimator=estimator,
            num_samples=2500,
            rng_key=KEY,
            eigenspace=space,
        )

    closed = run("gaussian_moment")
    assert closed.value == pytest.approx(exact, rel=1e-5)
    assert closed.standard_error == 0
    assert closed.a == pytest.approx(a, rel=1e-8)
    assert np.sort(np.abs(closed.c)) == pytest.approx(np.sort(np.abs(c)), rel=1e-5)
    assert np.linalg.eigvalsh(closed.B) == pytest.approx(
        np.linalg.eigvalsh(B), rel=1e-5
    )
    assert closed.eigenspace is space
    for estimator in ("quadratic_mc", "direct_mc"):
        # Four standard errors: a false alarm in about 16,000 runs.
        result = run(estimator)
        assert abs(result.value - exact) < 4 * result.standard_error
        assert 0 < result.standard_error < 0.1 * exact
        assert result.seconds["eigenspace"] == 0
        assert result.seconds["evaluation"] > 0


def test_closed_form_in_single_precision_and_from_a_dense_hessian():
    dim, k, sigma = 5, 40, 0.3
    w, params, data, *_ = quadratic_problem(12, 60)
    (a, gradient, hessian), mean_hessian = exact_increment(w, data, k)
    V = np.linalg.eigh(mean_hessian)[1][:, ::-1][:, :dim]
    exact = gaussian_moment(a, V.T @ gradient, V.T @ hessian @ V, sigma)
    result = delta2_subspace(
        Solution(quadratic_loss, params, data),
        k,
        eigenspace=dim,
        sigma=sigma,
        rng_key=KEY,
    )
    assert result.value == pytest.approx(exact, rel=1e-5)
    assert result.seconds["eigenspace"] > 0


def test_spectral_formula_with_shared_eigenvectors(x64):
    # Where all examples share their eigenvectors, and at the minimum of L_k, the
    # criterion depends on the Hessians through their eigenvalues alone.
    dim, k, sigma = 4, 30, 0.5
    _, _, data, basis, spectrum = quadratic_problem(16, 50, shared=True)
    A, m = data["A"], data["m"]
    w = np.linalg.solve(A[:k].sum(0), np.einsum("mij,mj->i", A[:k], m[:k]))
    top = np.argsort(-spectrum[:k].mean(0))[:dim]
    change = (spectrum[: k + 1].mean(0) - spectrum[:k].mean(0))[top]
    slope = spectrum[k, top] * (basis.T @ (w - m[k]))[top] / (k + 1)
    a = exact_increment(w, data, k)[0][0]
    exact = a**2 + a * sigma**2 * change.sum() + sigma**2 * (slope**2).sum()
    exact += sigma**4 / 4 * (2 * (change**2).sum() + change.sum() ** 2)
    result = delta2_subspace(
        Solution(quadratic_loss, as_tree(w), data),
        k,
        eigenspace=dim,
        sigma=sigma,
        rng_key=KEY,
    )
    assert result.value == pytest.approx(exact, rel=1e-8)


def test_delta2_agrees_with_the_exact_value():
    k, sigma = 40, 1.0
    w, params, data, *_ = quadratic_problem(12, 60)
    exact = gaussian_moment(*exact_increment(w, data, k)[0], sigma)
    solution = Solution(quadratic_loss, params, data)
    result = delta2(solution, k, sigma=sigma, num_samples=6000, rng_key=KEY)
    # Four standard errors: a false alarm in about 16,000 runs.
    assert abs(result.value - exact) < 4 * result.standard_error
    assert result.standard_error < 0.05 * exact


def test_no_recompilation_over_k():
    traces = []

    def loss(params, data):
        traces.append(1)
        return regression_loss(params, data)

    X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    solution = Solution(loss, {"w": jnp.ones(6)}, X)

    def run(k):
        traces.clear()
        delta2_subspace(solution, k, eigenspace=2, sigma=0.1, rng_key=KEY)
        return len(traces)

    first = run(10)
    assert first > 0
    assert run(20) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "outside the data"),
        ({"k": 40}, "1 <= k <= 39"),
        ({"eigenspace": 9}, "between 1 and the number of parameters, 8"),
        ({"eigenspace": 0}, "between 1 and"),
        ({"eigenspace": None}, "an Eigenspace or the number of eigenvectors"),
        ({"eigenspace": True}, "an Eigenspace or the number of eigenvectors"),
        ({"sigma": 0.0}, "sigma must be positive and finite, got 0.0"),
        ({"sigma": -1.0}, "sigma must be positive and finite, got -1.0"),
        ({"sigma": float("nan")}, "sigma must be positive and finite"),
        ({"estimator": "exact"}, "none of gaussian_moment"),
        ({"estimator": "direct_mc", "num_samples": 1}, "num_samples must be 2 or more"),
    ],
)
def test_bad_settings(changes, message):
    settings = {"k": 30, "eigenspace": 3, "sigma": 0.1, "rng_key": KEY, **changes}
    solution = quadratic_solution(8, 40)
    with pytest.raises(ValueError, match=message):
        delta2_subspace(solution, settings.pop("k"), **settings)


def test_bad_settings_of_the_full_space_criteria():
    solution = quadratic_solution(8, 40)
    with pytest.raises(ValueError, match="outside the data"):
        delta1(solution, 40)
    with pytest.raises(ValueError, match="sigma must be positive and finite"):
        delta2(solution, 30, sigma=0.0, rng_key=KEY)
    with pytest.raises(ValueError, match="num_samples must be 2 or more"):
        delta2(solution, 30, sigma=0.1, rng_key=KEY, num_samples=1)


def test_an_eigenspace_of_other_parameters():
    space = top_eigenspace(quadratic_solution(9, 40), 40, dim=2, rng_key=KEY)
    with pytest.raises(ValueError, match="these params ask for"):
        delta2_subspace(
            quadratic_solution(8, 40), 30, eigenspace=space, sigma=0.1, rng_key=KEY
        )
