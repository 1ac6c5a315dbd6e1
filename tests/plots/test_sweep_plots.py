# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Plots of sweeps, of distances travelled and of minibatch noise."""

import matplotlib
import numpy as np
import pytest
import xarray as xr

from numpyro_pl import plots
from numpyro_pl.plots.axes import COLORS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SWEEP = xr.Dataset(
    {
        name: ("temperature", np.array(values))
        for name, values in {
            "train.error": [0.1, 0.0, 0.05],
            "train.error_se": [0.01, 0.01, 0.01],
            "test.error": [0.2, 0.15, 0.1],
            "test.error_se": [0.01, 0.01, 0.01],
            "test.loss": [0.5, 0.6, 0.4],
            "test.loss_se": [0.01, 0.02, 0.01],
            "potential_energy": [10.0, 20.0, 30.0],
            "potential_energy_se": [1.0, 1.0, 1.0],
        }.items()
    },
    coords={"temperature": [1.0, 100.0, 10.0]},
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_a_panel_for_each_word():
    """In the order of the temperatures, with bars of two standard errors."""
    axes = plots.plot_temperature_sweep(
        SWEEP, references={"error": {"Adam, stopped early": 0.12}}
    )
    axes[0].figure.canvas.draw()
    assert [a.get_ylabel() for a in axes] == ["error", "loss (nats per point)"]
    assert all(a.get_xscale() == "log" for a in axes)
    train, test = axes[0].containers
    # Colors that suit all readers, not those of Matplotlib.
    assert tuple(bars.lines[0].get_color() for bars in (train, test)) == COLORS[:2]
    np.testing.assert_allclose(train.lines[0].get_xdata(), [1, 10, 100])
    np.testing.assert_allclose(test.lines[0].get_ydata(), [0.2, 0.1, 0.15])
    bar = train.lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 1], [0.08, 0.12])
    labels = [t.get_text() for t in axes[0].get_legend().get_texts()]
    assert sorted(labels) == ["Adam, stopped early", "test", "train"]


def test_panels_of_your_own_and_the_potential():
    ax = plt.subplots()[1]
    panels = {"energy": ["potential_energy"]}
    assert plots.plot_temperature_sweep(SWEEP, panels, ax=ax)[0] is ax
    bare = SWEEP[["potential_energy", "potential_energy_se"]]
    (ax,) = plots.plot_temperature_sweep(bare)
    assert ax.get_ylabel() == "potential (nats)"


def test_panels_that_there_are_not():
    with pytest.raises(ValueError, match=r"no scalar metrics \['error'\]"):
        plots.plot_temperature_sweep(SWEEP, {"error": ["error"]})
    with pytest.raises(ValueError, match=r"references has \['accuracy'\]"):
        plots.plot_temperature_sweep(SWEEP, references={"accuracy": {"Adam": 0.9}})
    with pytest.raises(ValueError, match="2 panels need as many axes"):
        plots.plot_temperature_sweep(SWEEP, ax=plt.subplots()[1])


def test_squared_distance_against_draws_and_seconds():
    draws = {"x": np.arange(20.0).reshape(2, 10)}
    ax = plots.plot_squared_distance({"a": draws, "b": draws})
    assert len(ax.get_lines()) == 4
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), np.arange(1, 10.0) ** 2)
    ax = plots.plot_squared_distance({"a": draws}, seconds={"a": 5.0})
    assert ax.get_xlabel() == "seconds"
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), 0.5 * np.arange(1, 10.0))
    ax.figure.canvas.draw()


def test_squared_distance_of_nothing():
    draws = {"x": np.arange(20.0).reshape(2, 10)}
    with pytest.raises(TypeError, match="must be a dict"):
        plots.plot_squared_distance(draws["x"])
    with pytest.raises(ValueError, match="is empty"):
        plots.plot_squared_distance({})
    with pytest.raises(ValueError, match="give one time for each sampler"):
        plots.plot_squared_distance({"a": draws}, seconds={"b": 1.0})


def test_noise_against_a_normal_distribution():
    rng = np.random.default_rng(0)
    noise = {"normal": rng.normal(size=(1000, 5)), "none": np.zeros((1000, 0))}
    ax = plots.plot_minibatch_noise(noise)
    ax.figure.canvas.draw()
    line, diagonal = ax.get_lines()
    assert np.abs(line.get_ydata() - line.get_xdata()).max() < 0.3
    assert diagonal.get_label() == "normal"
    with pytest.raises(ValueError, match="no group of parameters has any"):
        plots.plot_minibatch_noise({"none": noise["none"]})
