# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from numpyro_pl import plots

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


CHAINS = np.random.default_rng(0).normal(size=(3, 50))


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


def test_temperatures_far_apart_have_a_logarithmic_axis():
    cold_and_hot = np.exp(0.1 * np.stack([CHAINS, CHAINS], -1)) * [1e-3, 1.0]
    ax = rendered(plots.plot_temperature(cold_and_hot, target=[1e-3, 1.0]))
    assert ax.get_yscale() == "log"
    assert rendered(plots.plot_temperature(cold_and_hot)).get_yscale() == "linear"


def test_a_long_legend_stays_within_the_figure():
    groups = np.exp(0.1 * np.stack([CHAINS] * 4, -1))
    names = [f"a group with a long name, {i}" for i in range(4)]
    ax = rendered(plots.plot_temperature(groups, names=names))
    assert ax.get_legend().get_window_extent().x0 >= 0
    assert ax.get_window_extent().width > 0.8 * ax.figure.bbox.width


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


def test_a_draw_that_diverged_has_no_share_in_the_temperature():
    """One chain of ones; what a diverged draw leaves may be anything."""
    kinetic = np.ones((1, 6))
    kinetic[0, 2:4] = 1e12, np.nan
    diverging = kinetic != 1
    for groups in (kinetic, np.stack([kinetic, 3 * kinetic], -1)):
        run = Run(kinetic_temperature=groups, diverging=diverging)
        ax = rendered(plots.plot_temperature(run))
        means = y_data(ax)[1 : 2 * (groups.ndim - 1) : 2]
        np.testing.assert_array_equal(means, [[k] * 6 for k in (1, 3)[: len(means)]])
        assert ax.get_legend().get_texts()[0].get_text().endswith("(1.000)")


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
    ],
)
def test_without_matplotlib_plots_of_chains_name_the_extra(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"numpyro-pl\[plots\]"):
        draw()
