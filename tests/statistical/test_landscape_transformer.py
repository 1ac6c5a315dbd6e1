# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax import random

from numpyro_pl.landscape import (
    CurveBudget,
    Solution,
    delta2,
    delta2_subspace,
    stabilization_curve,
    top_eigenspace,
)

pytestmark = pytest.mark.statistical

KEY = random.key(11)


def regression_loss(params, data):
    return 0.5 * jnp.square(data @ params["w"])


def test_eigenspace_equals_a_dense_eigh():
    n, m, dim = 2000, 256, 10
    rng = np.random.default_rng(3)
    X = (rng.normal(size=(m, n)) * 0.9 ** np.arange(n)).astype(np.float32)
    X = X[:, rng.permutation(n)]
    k = 200
    values, vectors = scipy.linalg.eigh(
        X[:k].T.astype(float) @ X[:k] / k, subset_by_index=[n - dim, n - 1]
    )
    values, vectors = values[::-1], vectors[:, ::-1]
    solution = Solution(regression_loss, {"w": jnp.zeros(n)}, X, chunk_size=64)
    found = top_eigenspace(solution, k, dim=dim, rng_key=KEY, tol=1e-5)
    V = np.asarray(found.eigenvectors["w"], float)
    assert np.asarray(found.eigenvalues) == pytest.approx(values, rel=1e-4)
    assert np.abs(np.sum(V.T * vectors, 0)) == pytest.approx(1, abs=1e-4)
    signs = np.sign(np.sum(V.T * vectors, 0))
    assert np.linalg.norm(V.T * signs - vectors, axis=0).max() < 1e-4
    assert np.abs(V @ V.T - np.eye(dim)).max() < 1e-5
    assert (np.asarray(found.residuals) <= 1e-5 * values[0]).all()
    assert found.num_products < 200


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("equinox")
    pytest.importorskip("optax")
    path = Path(__file__).parents[2] / "examples" / "landscape_transformer.py"
    spec = importlib.util.spec_from_file_location("landscape_transformer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def transformer(example):
    loss, params, data = example.make_problem(width=16, depth=1, num_examples=512)
    params, value, _ = example.train(loss, params, data, seconds=1e9, max_steps=1500)
    assert value < 2.5
    solution = Solution(loss, params, data)
    space = top_eigenspace(solution, 384, dim=10, tol=1e-3, rng_key=KEY)
    return solution, space


def test_transformer_slopes_and_ratio(example, transformer):
    solution, space = transformer
    settings = {
        "budget": CurveBudget(num_samples=16, num_orderings=8, num_next=64),
        "rng_key": KEY,
    }
    curve = stabilization_curve(
        solution,
        [12, 24, 48, 96, 192, 384],
        sigma=1e-3,
        eigenspace=space,
        **settings,
    )
    # The published exponents; the whole interval of each slope is inside the tolerance,
    # so that neither a hit nor a miss is an accident of the orderings.
    for name, slope, tolerance in [
        ("delta1", -1, 0.15),
        ("delta2", -2, 0.3),
        ("delta2_subspace", -2, 0.3),
    ]:
        found = curve.slopes[name]
        assert slope - tolerance < found.low < found.high < slope + tolerance
    ratios = example.ratio_table(
        solution, space, curve, dims=(10,), sigmas=(1e-4, 1e-3), **settings
    )
    assert ratios == pytest.approx(1, abs=0.02)
    # They part where the full-space perturbation changes the loss itself.
    (far,) = example.ratio_table(
        solution, space, curve, dims=(10,), sigmas=(0.1,), **settings
    )[0]
    assert abs(far - 1) > 0.1


def test_transformer_estimators_agree(transformer):
    solution, space = transformer
    k, sigma = 300, 0.01

    def run(estimator):
        return delta2_subspace(
            solution,
            k,
            sigma=sigma,
            estimator=estimator,
            num_samples=256,
            eigenspace=space,
            rng_key=KEY,
        )

    closed = run("gaussian_moment")
    # Four standard errors: a false alarm in about 16,000 runs. The true increment is
    # allowed 2 % more, since it is not quadratic.
    for estimator, bias in (("quadratic_mc", 0.0), ("direct_mc", 0.02 * closed.value)):
        found = run(estimator)
        assert abs(found.value - closed.value) < 4 * found.standard_error + bias
    full = delta2(solution, k, sigma=1e-4, num_samples=32, rng_key=KEY)
    near = delta2_subspace(solution, k, sigma=1e-4, eigenspace=space, rng_key=KEY)
    assert near.value == pytest.approx(full.value, rel=0.02)


def test_own_eigenspaces_and_a_shared_one_decay_alike(transformer):
    solution, space = transformer
    settings = {
        "sigma": 1e-3,
        "budget": CurveBudget(num_samples=2, num_orderings=2, num_next=8),
        "rng_key": KEY,
    }
    own = stabilization_curve(solution, [24, 96], eigenspace=3, **settings)
    shared = stabilization_curve(solution, [24, 96], eigenspace=space, **settings)
    assert own.a == pytest.approx(shared.a, rel=1e-3, abs=1e-6)
    assert own.delta2_subspace == pytest.approx(shared.delta2_subspace, rel=0.02)
    assert own.B.shape == (2, 2, 8, 3, 3)
