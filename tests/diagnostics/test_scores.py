# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from numpyro_pl.diagnostics import (
    accuracy,
    agreement,
    calibration_curve,
    expected_calibration_error,
    log_loss,
    total_variation,
)


def probabilities(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


@st.composite
def several(draw, count, draws):
    """Class probabilities of several posteriors at the same points."""
    points, classes = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    found = []
    for _ in range(count):
        shape = (*draw(draws), points, classes)
        weights = draw(arrays(float, shape, elements=st.floats(0.0, 1.0)))
        weights = weights + 1e-3
        found.append(weights / weights.sum(-1, keepdims=True))
    return found


draw_axes = st.sampled_from([(), (3,), (2, 3)])


# ---------------------------------------------------------------------------
# agreement, total variation


def test_agreement_and_total_variation_by_hand():
    a = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
    b = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]])
    assert agreement(a, b) == 0.5
    assert total_variation(a, b) == pytest.approx((0.2 + 0.3 + 0.0 + 1.0) / 4)


def test_draws_are_averaged_before_comparing():
    # Every draw says another class than the mean does.
    draws = np.array([[[0.5, 0.1, 0.4]], [[0.1, 0.5, 0.4]]])
    mean = np.array([[0.3, 0.3, 0.4]])
    assert agreement(draws, mean) == 1.0
    assert total_variation(draws, mean) == pytest.approx(0.0, abs=1e-15)
    assert accuracy([2], draws) == 1.0
    assert log_loss([2], draws) == pytest.approx(-np.log(0.4))


@settings(max_examples=60, deadline=None)
@given(several(3, draw_axes))
def test_total_variation_is_a_bounded_metric(probs):
    a, b, c = probs
    ab, bc, ac = total_variation(a, b), total_variation(b, c), total_variation(a, c)
    assert 0.0 <= ab <= 1.0
    assert ab == total_variation(b, a)
    assert total_variation(a, a) == 0.0
    assert ac <= ab + bc + 1e-12
    assert agreement(a, b) == agreement(b, a)
    assert agreement(a, a) == 1.0
    # Where the classes differ the gap between the two largest must be bridged.
    mean_a = a.reshape(-1, *a.shape[-2:]).mean(0)
    top = np.sort(mean_a, axis=-1)
    if ab * len(top) < 0.5 * (top[:, -1] - top[:, -2]).min() - 1e-9:
        assert agreement(a, b) == 1.0


# ---------------------------------------------------------------------------
# against labels


def test_accuracy_and_log_loss_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    p, y = probabilities(rng, 200, 5), rng.integers(0, 5, 200)
    assert log_loss(y, p) == pytest.approx(metrics.log_loss(y, p, labels=range(5)))
    assert accuracy(y, p) == pytest.approx(metrics.accuracy_score(y, p.argmax(-1)))


def test_log_loss_of_an_impossible_label_is_infinite():
    assert log_loss([1, 0], [[1.0, 0.0], [0.5, 0.5]]) == np.inf


def test_calibration_by_hand():
    top = np.array([0.55, 0.6, 0.7, 0.95, 1.0])
    probs = np.stack([top, 1 - top], axis=-1)
    labels = np.array([0, 1, 0, 0, 0])
    curve = calibration_curve(labels, probs, num_bins=5)
    # 0.6 belongs to (0.4, 0.6], and 1 to the last bin.
    np.testing.assert_array_equal(curve.counts, [0, 0, 2, 1, 2])
    np.testing.assert_allclose(curve.confidence, [np.nan, np.nan, 0.575, 0.7, 0.975])
    np.testing.assert_allclose(curve.accuracy, [np.nan, np.nan, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(curve.edges, [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    by_hand = (2 * 0.075 + 0.3 + 2 * 0.025) / 5
    error = expected_calibration_error(labels, probs, num_bins=5)
    assert error == pytest.approx(by_hand)


@settings(max_examples=60, deadline=None)
@given(several(1, st.just(())), st.integers(1, 20), st.randoms(use_true_random=False))
def test_calibration_properties(probs, num_bins, rnd):
    (p,) = probs
    y = np.array([rnd.randrange(p.shape[1]) for _ in range(p.shape[0])])
    curve = calibration_curve(y, p, num_bins)
    some = curve.counts > 0
    assert curve.counts.sum() == p.shape[0]
    assert np.sum(curve.accuracy[some] * curve.counts[some]) == pytest.approx(
        accuracy(y, p) * p.shape[0]
    )
    assert (curve.confidence[some] > curve.edges[:-1][some] - 1e-12).all()
    assert (curve.confidence[some] < curve.edges[1:][some] + 1e-12).all()
    error = expected_calibration_error(y, p, num_bins)
    assert 0.0 <= error <= 1.0
    # Bins can only hide a difference between the overall means.
    overall = abs(p.max(-1).mean() - accuracy(y, p))
    assert expected_calibration_error(y, p, 1) == pytest.approx(overall, abs=1e-12)
    assert error >= overall - 1e-12


def test_calibrated_labels_have_a_small_calibration_error():
    # Labels drawn from the probabilities themselves. Chance gives at most about
    # 0.4 sqrt(15 / 20000) = 0.011; sharpened probabilities are far off.
    rng = np.random.default_rng(1)
    p = probabilities(rng, 20000, 4)
    y = (rng.random((20000, 1)) > p.cumsum(-1)).sum(-1)
    assert expected_calibration_error(y, p) < 0.011
    sharp = p**3 / (p**3).sum(-1, keepdims=True)
    assert expected_calibration_error(y, sharp) > 0.1


# ---------------------------------------------------------------------------
# bad input

P = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("probs", "match"),
    [
        (P[:, 0], r"stack\(\[1 - p, p\], -1\)"),
        (P[:0], "empty"),
        (np.where(np.arange(8).reshape(4, 2) == 3, np.nan, P), "not finite in 1 of 1"),
        (np.stack([P, P + np.inf]), "first in draw 1"),
        (P - [0.0, 1.0], "negative"),
        (2 * P, "sum to one"),
        (np.full((2, 4), 0.5), "sum to one"),
    ],
)
def test_values_that_are_not_probabilities_are_refused(probs, match):
    for fn in (total_variation, agreement):
        with pytest.raises(ValueError, match=match):
            fn(probs, P)
        with pytest.raises(ValueError, match=match):
            fn(P, probs)
    for fn in (accuracy, log_loss, expected_calibration_error, calibration_curve):
        with pytest.raises(ValueError, match=match):
            fn(np.zeros(4, int), probs)


@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (3, 5, 2)])
def test_points_and_classes_must_match(shape):
    other = np.full(shape, 1 / shape[-1])
    for fn in (total_variation, agreement):
        with pytest.raises(ValueError, match="same test points"):
            fn(P, other)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 1, 0], r"\(3,\).*4 points"),
        (np.eye(4, 2, dtype=int), "not one-hot"),
        ([0.0, 1.0, 0.0, 1.0], "whole numbers"),
        ([0, 1, 2, 0], "0 to 1"),
        ([0, -1, 1, 0], "0 to 1"),
    ],
)
def test_bad_labels_are_refused(labels, match):
    for fn in (accuracy, log_loss, expected_calibration_error, calibration_curve):
        with pytest.raises(ValueError, match=match):
            fn(labels, P)


def test_number_of_bins_must_be_positive():
    with pytest.raises(ValueError, match="num_bins"):
        calibration_curve([0, 1, 0, 1], P, 0)


@pytest.mark.parametrize("shape", [(4, 2), (3, 4, 2)])
def test_swapped_arguments_are_named(shape):
    labels, probs = np.array([0, 1, 0, 1]), np.full(shape, 0.5)
    for fn in (accuracy, log_loss, expected_calibration_error, calibration_curve):
        with pytest.raises(ValueError, match=r"swapped\? .* \(y_true, y_prob\)"):
            fn(probs, labels)
        with pytest.raises(ValueError, match="swapped"):
            fn(probs.tolist(), labels.tolist())
