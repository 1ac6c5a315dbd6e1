# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.landscape import (
    delta1,
    delta2,
    delta2_over_draws,
    delta2_subspace,
    gaussian_moment,
    plot_quadratic_validity,
    plot_spectrum,
    plot_stabilization,
    quadratic_validity,
    stabilization_curve,
    top_eigenspace,
)

KEY = random.key(11)


def quadratic_loss(params, data):
    """`(w - m_i)' A_i (w - m_i) / 2 + b_i` with w spread over a tree."""
    w = jnp.concatenate([params["u"].ravel(), params["v"]])
    d = w - data["m"]
    return 0.5 * jnp.einsum("mi,mij,mj->m", d, data["A"], d) + data["b"]


def quadratic_problem(n, m, seed=0, shared=False):
    """Random quadratics; with `shared` eigenvectors, also these and the eigenvalues."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    spectrum = 4 * 0.7 ** np.arange(n) * (1 + 0.3 * rng.normal(size=(m, n)))
    A = np.einsum("ij,mj,kj->mik", basis, spectrum, basis)
    if not shared:
        noise = 0.1 * rng.normal(size=(m, n, n)) / np.sqrt(n)
        A = A + noise + noise.transpose(0, 2, 1)
    data = {"A": A, "m": rng.normal(size=(m, n)), "b": rng.normal(size=m)}
    w = rng.normal(size=n)
    params = {"u": w[:4].reshape(2, 2), "v": w[4:]}
    return w, params, data, basis, spectrum


def exact_increment(w, data, k):
    """Value, gradient and Hessian of `L_{k+1} - L_k`, subtracting two means."""
    A, d = data["A"], w - data["m"]
    values = 0.5 * np.einsum("mi,mij,mj->m", d, A, d) + data["b"]
    gradients = np.einsum("mij,mj->mi", A, d)
    return tuple(x[: k + 1].mean(0) - x[:k].mean(0) for x in (values, gradients, A)), A[
        :k
    ].mean(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("chunk_size", [7, 128])
def test_delta1_is_the_difference_of_two_means(chunk_size):
    w, params, data, *_ = quadratic_problem(10, 60)
    (a, _, _), _ = exact_increment(w, data, 40)
    result = delta1(quadratic_loss, params, data, 40, chunk_size=chunk_size)
    assert result.value == pytest.approx(abs(a), rel=1e-5)
    assert result.a == pytest.approx(a, rel=1e-5)
    assert result.standard_error == 0


def test_delta1_does_not_cancel_in_single_precision():
    # The means differ by 1e-5 of themselves: subtracting them in single precision
    # leaves one digit or two.
    losses = 100 + np.random.default_rng(0).normal(size=20_000)
    k = 19_000
    exact = (losses[k] - losses[:k].mean()) / (k + 1)
    result = delta1(lambda p, d: d + 0 * p, jnp.zeros(()), losses.astype(np.float32), k)
    assert result.a == pytest.approx(exact, rel=1e-3)


def test_estimators_agree_with_the_exact_value_on_quadratics(x64):
    n, dim, k, sigma = 70, 5, 40, 1.0
    w, params, data, *_ = quadratic_problem(n, 60)
    (a, gradient, hessian), mean_hessian = exact_increment(w, data, k)
    V = np.linalg.eigh(mean_hessian)[1][:, ::-1][:, :dim]
    c, B = V.T @ gradient, V.T @ hessian @ V
    exact = a**2 + a * sigma**2 * np.trace(B) + sigma**2 * c @ c
    exact += sigma**4 / 4 * (2 * np.trace(B @ B) + np.trace(B) ** 2)

    def run(estimator, **settings):
        return delta2_subspace(
            quadratic_loss,
            params,
            data,
            k,
            dim=dim,
            sigma=sigma,
            estimator=estimator,
            num_samples=2500,
            key=KEY,
            tol=1e-8,
            **settings,
        )

    closed = run("gaussian_moment")
    assert closed.value == pytest.approx(exact, rel=1e-5)
    assert closed.standard_error == 0
    assert closed.a == pytest.approx(a, rel=1e-8)
    assert np.sort(np.abs(closed.c)) == pytest.approx(np.sort(np.abs(c)), rel=1e-5)
    assert np.linalg.eigvalsh(closed.B) == pytest.approx(
        np.linalg.eigvalsh(B), rel=1e-5
    )
    for estimator in ("quadratic_mc", "direct_mc"):
        # Four standard errors: a false alarm in about 16,000 runs.
        result = run(estimator, eigenspace=closed.eigenspace)
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
        quadratic_loss, params, data, k, dim=dim, sigma=sigma, key=KEY
    )
    assert result.value == pytest.approx(exact, rel=1e-5)


def test_spectral_formula_with_shared_eigenvectors(x64):
    # Where all examples share their eigenvectors, and at the minimum of L_k, the
    # criterion depends on the Hessians through their eigenvalues alone.
    dim, k, sigma = 4, 30, 0.5
    _, _, data, basis, spectrum = quadratic_problem(16, 50, shared=True)
    A, m = data["A"], data["m"]
    w = np.linalg.solve(A[:k].sum(0), np.einsum("mij,mj->i", A[:k], m[:k]))
    params = {"u": w[:4].reshape(2, 2), "v": w[4:]}
    top = np.argsort(-spectrum[:k].mean(0))[:dim]
    change = (spectrum[: k + 1].mean(0) - spectrum[:k].mean(0))[top]
    slope = spectrum[k, top] * (basis.T @ (w - m[k]))[top] / (k + 1)
    a = exact_increment(w, data, k)[0][0]
    exact = a**2 + a * sigma**2 * change.sum() + sigma**2 * (slope**2).sum()
    exact += sigma**4 / 4 * (2 * (change**2).sum() + change.sum() ** 2)
    result = delta2_subspace(
        quadratic_loss, params, data, k, dim=dim, sigma=sigma, key=KEY
    )
    assert result.value == pytest.approx(exact, rel=1e-8)


def test_delta2_agrees_with_the_exact_value():
    k, sigma = 40, 1.0
    w, params, data, *_ = quadratic_problem(12, 60)
    exact = gaussian_moment(*exact_increment(w, data, k)[0], sigma)
    result = delta2(
        quadratic_loss, params, data, k, sigma=sigma, num_samples=6000, key=KEY
    )
    # Four standard errors: a false alarm in about 16,000 runs.
    assert abs(result.value - exact) < 4 * result.standard_error
    assert result.standard_error < 0.05 * exact


def regression_loss(params, data):
    return 0.5 * jnp.square(data @ params["w"])


def test_eigenspace_beyond_the_rank_and_of_all_dimensions():
    # Two examples: rank 2, and eigenvalues that are zero up to rounding.
    X = np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32)
    found = top_eigenspace(regression_loss, {"w": jnp.zeros(100)}, X, 2, dim=6, key=KEY)
    exact = np.linalg.eigvalsh(X[:2] @ X[:2].T / 2)[::-1]
    assert np.asarray(found.eigenvalues) == pytest.approx(
        [*exact, 0, 0, 0, 0], abs=1e-4 * float(exact[0])
    )
    V = np.asarray(found.eigenvectors["w"])
    assert np.abs(V @ V.T - np.eye(6)).max() < 1e-5
    again = top_eigenspace(regression_loss, {"w": jnp.zeros(100)}, X, 2, dim=6, key=KEY)
    assert (again.eigenvectors["w"] == V).all()
    w = {"w": jnp.zeros(3)}
    assert top_eigenspace(regression_loss, w, X[:, :3], 4, dim=3, key=KEY).eigenvectors[
        "w"
    ].shape == (3, 3)


def test_the_examples_after_k_do_not_count():
    X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    X[20:] = np.nan
    found = top_eigenspace(regression_loss, {"w": jnp.zeros(6)}, X, 20, dim=2, key=KEY)
    exact = np.linalg.eigvalsh(X[:20].T @ X[:20] / 20)[::-1][:2]
    assert np.asarray(found.eigenvalues) == pytest.approx(exact, rel=1e-5)


def test_no_recompilation_over_k():
    traces = []

    def loss(params, data):
        traces.append(1)
        return regression_loss(params, data)

    X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    params = {"w": jnp.ones(6)}

    def run(k):
        traces.clear()
        delta2_subspace(loss, params, X, k, dim=2, sigma=0.1, key=KEY)
        return len(traces)

    first = run(10)
    assert first > 0
    assert run(20) == 0


def cubic_loss(params, data):
    return 1 + 0.5 * (data @ params) ** 2 + (data @ params) ** 3


def test_quadratic_validity_has_the_order_of_a_cubic_and_is_warned_about():
    X = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    w = jnp.ones(4)
    settings = {"dim": 2, "key": KEY}
    sigmas = [0.02, 0.04, 0.5]
    found = quadratic_validity(
        cubic_loss, w, X, 20, sigmas=sigmas, num_samples=64, **settings
    )
    # The increment at w dominates the small ones, so the cubic remainder shows:
    # doubling sigma multiplies the error by 8.
    error = found.relative_error
    assert error[1] / error[0] == pytest.approx(8, rel=0.25)
    assert error[1] < found.tolerance < error[2]
    assert found.trusted_sigma == 0.04
    none = quadratic_validity(cubic_loss, w, X, 20, sigmas=[5.0], **settings)
    assert none.trusted_sigma == 0
    for estimator in ("gaussian_moment", "quadratic_mc"):
        delta2_subspace(
            cubic_loss, w, X, 20, sigma=0.02, estimator=estimator, **settings
        )
        with pytest.warns(UserWarning, match="quadratic model of the increment is off"):
            delta2_subspace(
                cubic_loss, w, X, 20, sigma=0.5, estimator=estimator, **settings
            )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        delta2_subspace(
            cubic_loss, w, X, 20, sigma=0.5, estimator="direct_mc", **settings
        )
        delta2_subspace(cubic_loss, w, X, 20, sigma=0.5, check_samples=0, **settings)


def test_unconverged_eigenspace_warns_with_residuals():
    # Eigenvalues so close together that one restart cannot tell them apart.
    n = 400
    X = np.sqrt(n) * np.diag(np.linspace(1, 1.1, n)).astype(np.float32)
    with pytest.warns(UserWarning, match="not converged.*residuals"):
        found = top_eigenspace(
            regression_loss, {"w": jnp.zeros(n)}, X, n, dim=5, key=KEY, max_restarts=1
        )
    V = np.asarray(found.eigenvectors["w"])
    H = X.T @ X / n
    residuals = np.linalg.norm(
        V @ H - np.asarray(found.eigenvalues)[:, None] * V, axis=1
    )
    assert np.asarray(found.residuals) == pytest.approx(residuals, rel=1e-2)
    assert residuals.max() > 1e-4


@pytest.fixture(scope="module")
def curve():
    _, params, data, *_ = quadratic_problem(8, 700, seed=5)
    return stabilization_curve(
        quadratic_loss,
        params,
        data,
        [20, 40, 80, 160, 320, 640],
        dim=3,
        sigma=1e-3,
        num_next=32,
        num_samples=8,
        num_orderings=4,
        key=KEY,
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
        quadratic_loss,
        params,
        data,
        [20, 39],
        dim=3,
        sigma=1e-6,
        num_next=1,
        num_samples=2,
        num_orderings=2,
        key=KEY,
    )
    assert found.delta2 == pytest.approx(found.delta1**2, rel=1e-3)
    assert found.delta2_subspace == pytest.approx(found.delta1**2, rel=1e-3)
    # All 40 examples but one: the increment of the one left out, whichever it is.
    losses = np.asarray(quadratic_loss(params, data), float)
    left_out = np.abs(losses - (losses.sum() - losses) / 39) / 40
    for value in found.delta1[:, 1]:
        assert np.abs(left_out / value - 1).min() < 1e-4


def test_delta2_over_draws():
    _, params, data, *_ = quadratic_problem(8, 40)
    scales = jnp.linspace(0.5, 1.5, 10)
    draws = jax.tree.map(lambda x: scales.reshape(-1, *[1] * x.ndim) * x, params)
    settings = {"dim": 3, "sigma": 0.1}
    found = delta2_over_draws(
        quadratic_loss, draws, data, 30, key=KEY, max_draws=4, **settings
    )
    # The Hessian of a quadratic is the same at each draw.
    space = top_eigenspace(quadratic_loss, params, data, 30, dim=3, key=KEY)
    for value, i in zip(found.values, [0, 3, 6, 9], strict=True):
        one = jax.tree.map(lambda x, i=i: x[i], draws)
        expected = delta2_subspace(
            quadratic_loss, one, data, 30, sigma=0.1, key=KEY, eigenspace=space
        )
        assert value == pytest.approx(expected.value, rel=1e-5)
    assert found.mean == pytest.approx(found.values.mean())
    assert found.standard_deviation > 0
    assert (np.diff(found.quantiles) > 0).all()


def test_plots(curve):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ax = plot_stabilization(curve)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert f"slope ${curve.slopes['delta1'].value:.2f}" in labels[0]
    _, params, data, *_ = quadratic_problem(8, 40)
    space = top_eigenspace(quadratic_loss, params, data, 30, dim=3, key=KEY)
    _, given = plt.subplots()
    assert plot_spectrum(space, ax=given) is given
    X = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    validity = quadratic_validity(
        cubic_loss, jnp.ones(4), X, 20, sigmas=[0.01, 0.1, 1.0], dim=2, key=KEY
    )
    ax = plot_quadratic_validity(validity)
    assert ax.lines[0].get_ydata() == pytest.approx(validity.relative_error)
    plt.close("all")


def _call(**changes):
    _, params, data, *_ = quadratic_problem(8, 40)
    given = {
        "per_example_loss": quadratic_loss,
        "params": params,
        "data": data,
        "k": 30,
        "dim": 3,
        "sigma": 0.1,
        "key": KEY,
        **changes,
    }
    return delta2_subspace(**given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "outside the data"),
        ({"k": 40}, "1 <= k <= 39"),
        ({"dim": 9}, "between 1 and the number of parameters, 8"),
        ({"dim": 0}, "between 1 and"),
        ({"dim": None}, "give dim"),
        ({"sigma": 0.0}, "sigma=0.0 must be positive"),
        ({"sigma": -1.0}, "must be positive"),
        ({"sigma": float("nan")}, "must be positive"),
        ({"estimator": "exact"}, "none of gaussian_moment"),
        ({"estimator": "direct_mc", "num_samples": 1}, "at least 2"),
        ({"chunk_size": 0}, "chunk_size=0"),
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
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        _call(**changes)


def test_bad_input_elsewhere():
    _, params, data, *_ = quadratic_problem(8, 40)
    problem = quadratic_loss, params, data
    space = top_eigenspace(*problem, 40, dim=2, key=KEY)
    with pytest.raises(ValueError, match="ask for another"):
        _call(eigenspace=space, dim=3)
    with pytest.raises(ValueError, match="outside the data"):
        top_eigenspace(*problem, 41, dim=2, key=KEY)
    with pytest.raises(ValueError, match="basis_size=2"):
        top_eigenspace(*problem, 40, dim=2, key=KEY, basis_size=2)
    with pytest.raises(ValueError, match="not finite"):
        top_eigenspace(
            lambda p, d: jnp.sqrt(0 * p["w"] @ d.T),
            {"w": jnp.zeros(3)},
            np.ones((5, 3), np.float32),
            5,
            dim=1,
            key=KEY,
        )
    with pytest.raises(ValueError, match="linear in the parameters"):
        top_eigenspace(
            lambda p, d: d @ p, jnp.zeros(100), np.ones((5, 100)), 5, dim=1, key=KEY
        )
    curve_settings = {"dim": 2, "sigma": 0.1, "key": KEY}
    with pytest.raises(ValueError, match="at least two k"):
        stabilization_curve(*problem, [20, 10], **curve_settings)
    with pytest.raises(ValueError, match="outside the data"):
        stabilization_curve(*problem, [20, 39], **curve_settings)
    with pytest.raises(ValueError, match="num_orderings=1"):
        stabilization_curve(*problem, [10, 20], num_orderings=1, **curve_settings)
    with pytest.raises(ValueError, match="sigmas is empty"):
        quadratic_validity(*problem, 20, sigmas=[], dim=2, key=KEY)
    with pytest.raises(ValueError, match="leading axis of draws"):
        delta2_over_draws(
            quadratic_loss,
            {"u": jnp.zeros((3, 2, 2)), "v": jnp.zeros((4, 4))},
            data,
            20,
            key=KEY,
            dim=2,
            sigma=0.1,
        )
