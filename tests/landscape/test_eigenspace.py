# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import jax.numpy as jnp
import numpy as np
import pytest
from landscape_problems import KEY, quadratic_solution, regression_loss

from numpyro_pl.landscape import Solution, top_eigenspace


def linear_rows(m, n):
    return np.random.default_rng(0).normal(size=(m, n)).astype(np.float32)


def test_eigenspace_beyond_the_rank_and_of_all_dimensions():
    # Two examples: rank 2, and eigenvalues that are zero up to rounding.
    X = linear_rows(4, 100)
    solution = Solution(regression_loss, {"w": jnp.zeros(100)}, X)
    found = top_eigenspace(solution, 2, dim=6, rng_key=KEY)
    exact = np.linalg.eigvalsh(X[:2] @ X[:2].T / 2)[::-1]
    assert np.asarray(found.eigenvalues) == pytest.approx(
        [*exact, 0, 0, 0, 0], abs=1e-4 * float(exact[0])
    )
    V = np.asarray(found.eigenvectors["w"])
    assert np.abs(V @ V.T - np.eye(6)).max() < 1e-5
    again = top_eigenspace(solution, 2, dim=6, rng_key=KEY)
    assert (again.eigenvectors["w"] == V).all()
    small = Solution(regression_loss, {"w": jnp.zeros(3)}, X[:, :3])
    whole = top_eigenspace(small, 4, dim=3, rng_key=KEY)
    assert whole.eigenvectors["w"].shape == (3, 3)
    assert whole.dim == 3


def test_the_examples_after_k_do_not_count():
    X = linear_rows(50, 6)
    X[20:] = np.nan
    solution = Solution(regression_loss, {"w": jnp.zeros(6)}, X)
    found = top_eigenspace(solution, 20, dim=2, rng_key=KEY)
    exact = np.linalg.eigvalsh(X[:20].T @ X[:20] / 20)[::-1][:2]
    assert np.asarray(found.eigenvalues) == pytest.approx(exact, rel=1e-5)


def test_unconverged_eigenspace_warns_with_residuals():
    # Eigenvalues so close together that one restart cannot tell them apart.
    n = 400
    X = np.sqrt(n) * np.diag(np.linspace(1, 1.1, n)).astype(np.float32)
    solution = Solution(regression_loss, {"w": jnp.zeros(n)}, X)
    with pytest.warns(UserWarning, match="not converged.*residuals") as record:
        found = top_eigenspace(solution, n, dim=5, rng_key=KEY, max_restarts=1)
    assert record[0].filename == __file__
    V = np.asarray(found.eigenvectors["w"])
    H = X.T @ X / n
    residuals = np.linalg.norm(
        V @ H - np.asarray(found.eigenvalues)[:, None] * V, axis=1
    )
    assert np.asarray(found.residuals) == pytest.approx(residuals, rel=1e-2)
    assert residuals.max() > 1e-4


@pytest.mark.parametrize(
    ("k", "changes", "message"),
    [
        (41, {}, "outside the data"),
        (40, {"basis_size": 2}, "basis_size=2"),
        (40, {"dim": 9}, "between 1 and the number of parameters, 8"),
        (40, {"dim": 0}, "dim must be a positive whole number"),
        (40, {"tol": 0.0}, "tol must be positive and finite"),
        (40, {"max_restarts": 0}, "max_restarts must be a positive whole number"),
    ],
)
def test_bad_settings_of_the_solver(k, changes, message):
    settings = {"dim": 2, "rng_key": KEY, **changes}
    solution = quadratic_solution(8, 40)
    with pytest.raises(ValueError, match=message):
        top_eigenspace(solution, k, **settings)


def test_losses_without_a_top_eigenspace():
    bad = Solution(
        lambda p, d: jnp.sqrt(0 * p["w"] @ d.T),
        {"w": jnp.zeros(3)},
        np.ones((5, 3), np.float32),
    )
    with pytest.raises(ValueError, match="not finite"):
        top_eigenspace(bad, 5, dim=1, rng_key=KEY)
    linear = Solution(lambda p, d: d @ p, jnp.zeros(100), np.ones((5, 100)))
    with pytest.raises(ValueError, match="linear in the parameters"):
        top_eigenspace(linear, 5, dim=1, rng_key=KEY)
