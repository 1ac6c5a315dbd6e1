# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import sys

import matplotlib
import numpy as np
import pytest

from numpyro_pl import plots

matplotlib.use("Agg")
import matplotlib.pyplot as plt

X, Y = np.linspace(-1, 1, 21), np.linspace(0, 3, 31)
GRID = np.stack(np.meshgrid(X, Y), -1).reshape(-1, 2)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def by_first_input(steepness=5.0):
    """Two classes, told apart by the sign of the first input."""
    p = 1 / (1 + np.exp(-steepness * GRID[:, 0]))
    return np.stack([1 - p, p], -1)


def three_classes(draws=4):
    """Class 2 where the second input is large."""
    rng = np.random.default_rng(0)
    slopes = rng.normal(4, 0.5, (draws, 1))
    logits = [-slopes * GRID[:, 0], slopes * GRID[:, 0], slopes * (GRID[:, 1] - 1.5)]
    p = np.exp(np.stack(logits, -1))
    return p / p.sum(-1, keepdims=True)


def image_of(ax):
    (image,) = ax.images
    return np.asarray(image.get_array())


def test_regions_have_the_color_of_the_most_probable_class():
    ax = plots.plot_decision_regions(X, Y, by_first_input())
    ax.figure.canvas.draw()
    image = image_of(ax)
    assert image.shape == (31, 21, 3)
    first, second = (
        np.array(matplotlib.colors.to_rgb(c)) for c in ("#0072B2", "#D55E00")
    )
    for column, color in ((0, first), (-1, second)):
        # A mixture with white: what is missing to white has the color's proportions.
        missing, full = 1 - image[5, column], 1 - color
        np.testing.assert_allclose(missing / missing.sum(), full / full.sum())
    # White in the middle, and stronger away from it.
    np.testing.assert_allclose(image[:, 10], 1.0, atol=1e-9)
    assert (np.diff(image[5, 10:, 2]) < 0).all()
    assert ax.images[0].get_extent() == [-1, 1, 0, 3]


def test_lines_are_where_the_classes_meet_and_where_they_are_certain():
    ax = plots.plot_decision_regions(X, Y, by_first_input())
    border, dashed = ax.collections[:2]
    for path in border.get_paths():
        np.testing.assert_allclose(path.vertices[:, 0], 0, atol=1e-6)
    at = np.concatenate([path.vertices for path in dashed.get_paths()])[:, 0]
    np.testing.assert_allclose(np.abs(at), np.log(9) / 5, atol=0.01)


def test_draws_are_averaged_and_data_shown_by_class():
    data = np.array([[-0.5, 1.0], [0.5, 1.0], [0.0, 2.5], [0.6, 0.5]])
    ax = plots.plot_decision_regions(
        X, Y, three_classes(), (data, [0, 1, 2, 1]), labels=["a", "b", "c"]
    )
    ax.figure.canvas.draw()
    mean = plots.plot_decision_regions(X, Y, three_classes().mean(0))
    np.testing.assert_allclose(image_of(ax), image_of(mean))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["a", "b", "c"]
    points = [c.get_offsets() for c in ax.collections[-3:]]
    np.testing.assert_allclose(points[1], data[[1, 3]])
    assert plots.plot_decision_regions(X, Y, by_first_input(), ax=ax) is ax


def test_one_class_everywhere():
    p = np.tile([0.97, 0.03], (len(GRID), 1))
    ax = plots.plot_decision_regions(X, Y, p)
    ax.figure.canvas.draw()
    assert len(ax.collections) == 2


@pytest.mark.parametrize(
    ("args", "settings", "message"),
    [
        ((X, Y, by_first_input()[:-1]), {}, "650 points; 21 values of x and 31 of y"),
        ((X[::-1], Y, by_first_input()), {}, "x must be at least two rising values"),
        ((X, Y, 2 * by_first_input()), {}, "does not sum"),
        ((X, Y, by_first_input()), {"labels": ["a"]}, "labels has 1 names"),
        ((X, Y, by_first_input()), {"certain": 1.5}, "certain"),
        ((X, Y, np.full((651, 7), 1 / 7)), {}, "7 classes"),
        (
            (X, Y, by_first_input(), (np.zeros((3, 2)), np.array([0, 1, 2]))),
            {},
            "whole numbers from 0 to 1",
        ),
        (
            (X, Y, by_first_input(), (np.zeros((3, 3)), np.zeros(3, int))),
            {},
            r"inputs of shape \(3, 3\)",
        ),
    ],
)
def test_input_that_does_not_fit(args, settings, message):
    with pytest.raises(ValueError, match=message):
        plots.plot_decision_regions(*args, **settings)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"numpyro-pl\[plots\]"):
        plots.plot_decision_regions(X, Y, by_first_input())
