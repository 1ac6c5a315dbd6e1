# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import matplotlib
import numpy as np
import pytest

from numpyro_pl import plots
from numpyro_pl.diagnostics import compare, crps, interval_coverage

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RNG = np.random.default_rng(0)
X = np.array([2.0, 0.0, 1.0])
DRAWS = RNG.normal(size=(2, 50, 3)) + X


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rendered(ax):
    """Draw it: some mistakes show only then."""
    ax.figure.canvas.draw()
    return ax


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_bands_are_quantiles_in_the_order_of_the_inputs():
    ax = rendered(plots.plot_predictive_bands(X, DRAWS, (X, X + 1), probs=(0.5, 0.8)))
    wide, narrow = ax.collections
    flat = DRAWS.reshape(100, 3)[:, [1, 2, 0]]
    for band, prob in ((wide, 0.8), (narrow, 0.5)):
        low, high = np.quantile(flat, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        y = band.get_paths()[0].vertices[:, 1]
        assert (y.min(), y.max()) == pytest.approx((low.min(), high.max()))
    median, data = ax.lines
    np.testing.assert_allclose(median.get_ydata(), np.median(flat, 0))
    np.testing.assert_array_equal(data.get_xdata(), X)
    assert labels(ax)[0] == "80 % of the predictions"
    assert ax.get_xlabel() == "input"


def test_two_models_on_the_same_axes():
    ax = plots.plot_predictive_bands(X, DRAWS, label="one")
    assert plots.plot_predictive_bands(X, DRAWS + 1, label="two", ax=ax) is ax
    first, second = ax.lines
    assert first.get_color() != second.get_color()
    assert "two, median" in labels(rendered(ax))


def test_coverage():
    y = RNG.normal(size=60)
    draws = {
        "right": RNG.normal(size=(99, 60)),
        "narrow": RNG.normal(size=(99, 60)) / 2,
    }
    ax = rendered(plots.plot_coverage(y, draws, probs=(0.5, 0.8)))
    for (name, values), container in zip(draws.items(), ax.containers, strict=True):
        line = container.lines[0]
        expected = [interval_coverage(y, values, p).mean for p in (0.5, 0.8)]
        np.testing.assert_allclose(line.get_ydata(), expected)
        assert f"{name} (CRPS {crps(y, values).mean:.3g})" in labels(ax)


def test_differences_are_those_of_the_table():
    ours = {"w": RNG.normal(size=(2, 100, 3)), "same": np.ones((2, 100))}
    reference = {"w": RNG.normal(size=(2, 100, 3)), "same": np.ones((2, 100))}
    table = compare(ours, reference)
    left, right = plots.plot_differences(table)
    rendered(left)
    points, _, (bars,) = left.containers[0].lines
    assert [t.get_text() for t in left.get_yticklabels()] == list(table.index)
    np.testing.assert_allclose(points.get_xdata(), table.mean_diff_sd)
    ends = np.array(bars.get_segments())[:, :, 0]
    np.testing.assert_allclose(
        (ends[:, 1] - ends[:, 0])[:3],
        4 * np.abs(table.mean_diff_sd / table.z_mean)[:3],
    )
    points = right.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xdata(), table.sd_ratio)


def test_of_many_differences_the_largest_are_shown():
    ours = RNG.normal(size=(2, 100, 60))
    ours[..., 50] += 3
    axes = plots.plot_differences(
        compare({"w": ours}, {"w": RNG.normal(size=(2, 9, 60))})
    )
    names = [t.get_text() for t in axes[0].get_yticklabels()]
    assert len(names) == 40
    assert "w[50]" in names
    assert axes[0].get_title() == "largest 40 of 60"


def test_noise_by_group():
    values = np.abs(RNG.normal(size=(2, 10, 2)))
    ax = rendered(plots.plot_noise(values, names=["first", "second"]))
    assert labels(ax) == [
        f"{n} ({values[..., i].mean():#.4g})" for i, n in enumerate(("first", "second"))
    ]
    assert ax.get_ylim()[0] == 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least one axis of draws"):
        plots.plot_predictive_bands(X, X)
    with pytest.raises(ValueError, match="not finite"):
        plots.plot_predictive_bands(X, DRAWS * np.nan)
    with pytest.raises(TypeError, match="must be a dict"):
        plots.plot_coverage(X, DRAWS)
    with pytest.raises(ValueError, match="is empty"):
        plots.plot_coverage(X, {})
    with pytest.raises(ValueError, match="lacks the columns"):
        plots.plot_differences({"w": X})
    table = compare({"w": DRAWS}, {"w": DRAWS})
    with pytest.raises(ValueError, match="2 quantities need as many axes"):
        plots.plot_differences(table, ax=plt.subplots()[1])
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.plot_differences(table * np.nan)
