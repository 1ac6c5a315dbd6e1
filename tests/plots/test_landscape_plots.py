# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.landscape import (
    CurveBudget,
    Solution,
    quadratic_validity,
    stabilization_curve,
    top_eigenspace,
)
from numpyro_pl.plots.landscape import (
    plot_quadratic_validity,
    plot_spectrum,
    plot_stabilization,
)

KEY = random.key(11)


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def solution():
    X = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)

    def cubic_loss(params, data):
        return 1 + 0.5 * (data @ params) ** 2 + (data @ params) ** 3

    return Solution(cubic_loss, jnp.ones(4), X)


def test_stabilization_with_its_slopes(plt, solution):
    curve = stabilization_curve(
        solution,
        [10, 20, 40],
        sigma=1e-3,
        eigenspace=2,
        budget=CurveBudget(num_samples=4, num_orderings=3, num_next=4),
        rng_key=KEY,
    )
    ax = plot_stabilization(curve)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    for name, label in zip(
        ("delta1", "delta2", "delta2_subspace"), labels, strict=True
    ):
        assert f"slope ${curve.slopes[name].value:.2f}" in label


def test_spectrum_on_given_axes(plt, solution):
    space = top_eigenspace(solution, 30, dim=3, rng_key=KEY)
    _, given = plt.subplots()
    assert plot_spectrum(space, ax=given) is given
    assert given.lines[0].get_ydata() == pytest.approx(np.asarray(space.eigenvalues))


def test_quadratic_validity(plt, solution):
    validity = quadratic_validity(
        solution, 20, sigmas=[0.01, 0.1, 1.0], eigenspace=2, rng_key=KEY
    )
    ax = plot_quadratic_validity(validity)
    assert ax.lines[0].get_ydata() == pytest.approx(validity.relative_error)
