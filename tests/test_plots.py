# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import subprocess
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


def probabilities(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


RNG = np.random.default_rng(0)
CHAINS = RNG.normal(size=(3, 50))
LABELS = RNG.integers(0, 4, 30)


def y_data(ax):
    return [np.asarray(line.get_ydata()) for line in ax.get_lines()]


def rendered(ax):
    """Draw it: some mistakes show only then."""
    ax.figure.canvas.draw()
    return ax


# ---------------------------------------------------------------------------
# traces


def test_traces_show_every_chain_and_the_target():
    draws = {"potential energy": CHAINS, "temperature": CHAINS[0] + 1}
    axes = plots.plot_traces(draws, targets={"temperature": 1.0})
    assert axes.shape == (2,)
    rendered(axes[0])
    assert [ax.get_ylabel() for ax in axes] == list(draws)
    np.testing.assert_array_equal(y_data(axes[0]), CHAINS)
    np.testing.assert_array_equal(y_data(axes[1])[0], CHAINS[0] + 1)
    np.testing.assert_array_equal(y_data(axes[1])[1], [1.0, 1.0])
    assert axes[-1].get_xlabel() == "draw"


def test_traces_draw_on_the_axes_given():
    _, ax = plt.subplots()
    assert plots.plot_traces({"a": CHAINS}, ax=ax)[0] is ax
    _, grid = plt.subplots(1, 2)
    axes = plots.plot_traces({"a": CHAINS, "b": CHAINS}, ax=grid)
    assert list(axes) == list(grid)
    with pytest.raises(ValueError, match="2 functionals"):
        plots.plot_traces({"a": CHAINS, "b": CHAINS}, ax=ax)


@pytest.mark.parametrize(
    ("draws", "targets", "match"),
    [
        ({}, None, "empty"),
        ({"a": CHAINS[..., None]}, None, r"'a' has shape \(3, 50, 1\)"),
        ({"a": CHAINS[:, :0]}, None, r"\(chain, draw\)"),
        ({"a": CHAINS}, {"b": 1.0}, r"\['b'\]"),
    ],
)
def test_traces_explain_bad_input(draws, targets, match):
    with pytest.raises(ValueError, match=match):
        plots.plot_traces(draws, targets)


# ---------------------------------------------------------------------------
# temperature


def test_temperature_shows_the_mean_so_far():
    ax = rendered(plots.plot_temperature(CHAINS + 2, target=2.0))
    lines = y_data(ax)
    assert len(lines) == 2 * 3 + 1
    np.testing.assert_allclose(lines[1][-1], CHAINS[0].mean() + 2)
    np.testing.assert_allclose(lines[1][9], CHAINS[0][:10].mean() + 2)
    np.testing.assert_array_equal(lines[-1], [2.0, 2.0])


def test_temperature_of_groups():
    groups = np.stack([CHAINS + 1, CHAINS + 5], axis=-1)
    _, given = plt.subplots()
    ax = plots.plot_temperature(groups, target=[1, 5], names=["in", "out"], ax=given)
    assert rendered(ax) is given
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    means = [CHAINS.mean() + 1, CHAINS.mean() + 5]
    assert texts == [f"in ({means[0]:.3f})", f"out ({means[1]:.3f})", "target"]
    assert len(y_data(ax)) == 2 * 2 * 3 + 2
    with pytest.raises(ValueError, match="1 names for 2 groups"):
        plots.plot_temperature(groups, names=["in"])
    with pytest.raises(ValueError, match="3 targets"):
        plots.plot_temperature(groups, target=[1, 2, 3])
    with pytest.raises(ValueError, match=r"\(chain, draw\)"):
        plots.plot_temperature(np.float64(1.0))


class Run:
    """What plot_temperature asks of an MCMC."""

    def __init__(self, **fields):
        self.fields = fields

    def get_extra_fields(self, group_by_chain):
        assert group_by_chain
        return self.fields


def test_temperature_of_an_mcmc():
    ax = plots.plot_temperature(Run(kinetic_temperature=CHAINS))
    np.testing.assert_array_equal(y_data(ax)[0], CHAINS[0])
    with pytest.raises(ValueError, match="extra_fields"):
        plots.plot_temperature(Run(diverging=CHAINS))


# ---------------------------------------------------------------------------
# predictions


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
    with pytest.raises(ValueError, match="reference_probs has negative"):
        plots.plot_predictive_comparison(p, -q)
    with pytest.raises(ValueError, match="same test points"):
        plots.plot_predictive_comparison(p, q[:5])


def test_calibration():
    p = {"one": probabilities(3, 30, 4), "two": probabilities(4, 5, 30, 4)}
    ax = rendered(plots.plot_calibration(p, LABELS, num_bins=5))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    errors = [expected_calibration_error(v, LABELS, 5) for v in p.values()]
    curve = calibration_curve(p["one"], LABELS, 5)
    some = curve.counts > 0
    line, *_ = ax.containers[0]
    np.testing.assert_allclose(line.get_xdata(), curve.confidence[some])
    np.testing.assert_allclose(line.get_ydata(), curve.accuracy[some])
    assert texts == [f"one (ECE {errors[0]:.3f})", f"two (ECE {errors[1]:.3f})"]
    assert plots.plot_calibration(p, LABELS, ax=ax) is ax
    with pytest.raises(ValueError, match="empty"):
        plots.plot_calibration({}, LABELS)
    with pytest.raises(ValueError, match=r"\['one'\] does not sum"):
        plots.plot_calibration({"one": 2 * p["one"]}, LABELS)
    with pytest.raises(ValueError, match="30 points"):
        plots.plot_calibration(p, LABELS[:5])


# ---------------------------------------------------------------------------
# without matplotlib


def test_matplotlib_is_imported_with_the_first_picture_only():
    code = "import sys, numpyro_pl.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.plot_traces({"a": CHAINS}),
        lambda: plots.plot_temperature(CHAINS),
        lambda: plots.plot_predictive_comparison(*[probabilities(5, 3, 2)] * 2),
        lambda: plots.plot_calibration({"a": probabilities(6, 30, 4)}, LABELS),
    ],
)
def test_without_matplotlib_the_extra_is_named(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"numpyro-pl\[examples\]"):
        draw()
