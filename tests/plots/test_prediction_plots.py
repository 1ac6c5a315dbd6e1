# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import sys

import matplotlib
import numpy as np
import pytest

from numpyro_pl import plots
from numpyro_pl.diagnostics import (
    calibration_curve,
    expected_calibration_error,
    total_variation,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


LABELS = np.random.default_rng(0).integers(0, 4, 30)


def probabilities(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def rendered(ax):
    """Draw it: some mistakes show only then."""
    ax.figure.canvas.draw()
    return ax


def test_predictive_comparison():
    p, q = probabilities(1, 2, 10, 30, 4), probabilities(2, 30, 4)
    ax = rendered(plots.plot_predictive_comparison(p, q, labels=("pL", "NUTS")))
    (points,) = ax.collections
    np.testing.assert_allclose(
        points.get_offsets(),
        np.column_stack([q.ravel(), p.mean((0, 1)).ravel()]),
    )
    assert f"{total_variation(p, q):.3f}" in ax.get_title()
    assert ax.get_xlabel().startswith("NUTS")
    assert ax.get_ylabel().startswith("pL")
    assert plots.plot_predictive_comparison(q, q, ax=ax) is ax
    assert ax.get_title() == "total variation 0.000, agreement 100.0 %"
    with pytest.raises(ValueError, match="y_prob_ref has negative"):
        plots.plot_predictive_comparison(p, -q)
    with pytest.raises(ValueError, match="same test points"):
        plots.plot_predictive_comparison(p, q[:5])


def test_calibration():
    p = {"one": probabilities(3, 30, 4), "two": probabilities(4, 5, 30, 4)}
    ax = rendered(plots.plot_calibration(LABELS, p, num_bins=5))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    errors = [expected_calibration_error(LABELS, v, 5) for v in p.values()]
    curve = calibration_curve(LABELS, p["one"], 5)
    some = curve.counts > 0
    line, *_ = ax.containers[0]
    np.testing.assert_allclose(line.get_xdata(), curve.confidence[some])
    np.testing.assert_allclose(line.get_ydata(), curve.accuracy[some])
    assert texts == [f"one (ECE {errors[0]:.3f})", f"two (ECE {errors[1]:.3f})"]
    assert plots.plot_calibration(LABELS, p, ax=ax) is ax
    with pytest.raises(ValueError, match="empty"):
        plots.plot_calibration(LABELS, {})
    with pytest.raises(ValueError, match=r"\['one'\] does not sum"):
        plots.plot_calibration(LABELS, {"one": 2 * p["one"]})
    with pytest.raises(ValueError, match="30 points"):
        plots.plot_calibration(LABELS[:5], p)
    with pytest.raises(TypeError, match="swapped"):
        plots.plot_calibration(p, LABELS)
    with pytest.raises(TypeError, match="must be a dict"):
        plots.plot_calibration(LABELS, p["one"])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.plot_predictive_comparison(*[probabilities(5, 3, 2)] * 2),
        lambda: plots.plot_calibration(LABELS, {"a": probabilities(6, 30, 4)}),
    ],
)
def test_without_matplotlib_plots_of_predictions_name_the_extra(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"numpyro-pl\[plots\]"):
        draw()
