# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from numpyro_pl._predictive import _map_draws
from numpyro_pl.diagnostics import (
    accuracy,
    agreement,
    calibration_curve,
    expected_calibration_error,
    log_loss,
    predictive_probabilities,
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
    assert accuracy(draws, [2]) == 1.0
    assert log_loss(draws, [2]) == pytest.approx(-np.log(0.4))


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


def test_accuracy_and_log_loss_are_scikit_learn_s():
    rng = np.random.default_rng(0)
    p, y = probabilities(rng, 200, 5), rng.integers(0, 5, 200)
    assert log_loss(p, y) == pytest.approx(metrics.log_loss(y, p, labels=range(5)))
    assert accuracy(p, y) == pytest.approx(metrics.accuracy_score(y, p.argmax(-1)))


def test_log_loss_of_an_impossible_label_is_infinite():
    assert log_loss([[1.0, 0.0], [0.5, 0.5]], [1, 0]) == np.inf


def test_calibration_by_hand():
    top = np.array([0.55, 0.6, 0.7, 0.95, 1.0])
    probs = np.stack([top, 1 - top], axis=-1)
    labels = np.array([0, 1, 0, 0, 0])
    curve = calibration_curve(probs, labels, num_bins=5)
    # 0.6 belongs to (0.4, 0.6], and 1 to the last bin.
    np.testing.assert_array_equal(curve.counts, [0, 0, 2, 1, 2])
    np.testing.assert_allclose(curve.confidence, [np.nan, np.nan, 0.575, 0.7, 0.975])
    np.testing.assert_allclose(curve.accuracy, [np.nan, np.nan, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(curve.edges, [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    by_hand = (2 * 0.075 + 0.3 + 2 * 0.025) / 5
    error = expected_calibration_error(probs, labels, num_bins=5)
    assert error == pytest.approx(by_hand)


@settings(max_examples=60, deadline=None)
@given(several(1, st.just(())), st.integers(1, 20), st.randoms(use_true_random=False))
def test_calibration_properties(probs, num_bins, rnd):
    (p,) = probs
    y = np.array([rnd.randrange(p.shape[1]) for _ in range(p.shape[0])])
    curve = calibration_curve(p, y, num_bins)
    some = curve.counts > 0
    assert curve.counts.sum() == p.shape[0]
    assert np.sum(curve.accuracy[some] * curve.counts[some]) == pytest.approx(
        accuracy(p, y) * p.shape[0]
    )
    assert (curve.confidence[some] > curve.edges[:-1][some] - 1e-12).all()
    assert (curve.confidence[some] < curve.edges[1:][some] + 1e-12).all()
    error = expected_calibration_error(p, y, num_bins)
    assert 0.0 <= error <= 1.0
    # Bins can only hide a difference between the overall means.
    overall = abs(p.max(-1).mean() - accuracy(p, y))
    assert expected_calibration_error(p, y, 1) == pytest.approx(overall, abs=1e-12)
    assert error >= overall - 1e-12


def test_calibrated_labels_have_a_small_calibration_error():
    # Labels drawn from the probabilities themselves. Chance gives at most about
    # 0.4 sqrt(15 / 20000) = 0.011; sharpened probabilities are far off.
    rng = np.random.default_rng(1)
    p = probabilities(rng, 20000, 4)
    y = (rng.random((20000, 1)) > p.cumsum(-1)).sum(-1)
    assert expected_calibration_error(p, y) < 0.011
    sharp = p**3 / (p**3).sum(-1, keepdims=True)
    assert expected_calibration_error(sharp, y) > 0.1


# ---------------------------------------------------------------------------
# bad input

P = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("probs", "match"),
    [
        (P[:, 0], r"stack\(\[1 - p, p\], -1\)"),
        (P[:0], "empty"),
        (np.where(np.arange(8).reshape(4, 2) == 3, np.nan, P), "not finite in 1 of 1"),
        (np.stack([P, P + np.inf]), "first in number 1"),
        (P - [0.0, 1.0], "negative"),
        (2 * P, "sum to one"),
        (np.full((2, 4), 0.5), "sum to one"),
    ],
)
def test_what_are_no_probabilities_is_refused(probs, match):
    for fn in (total_variation, agreement):
        with pytest.raises(ValueError, match=match):
            fn(probs, P)
        with pytest.raises(ValueError, match=match):
            fn(P, probs)
    for fn in (accuracy, log_loss, expected_calibration_error, calibration_curve):
        with pytest.raises(ValueError, match=match):
            fn(probs, np.zeros(4, int))


@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (3, 5, 2)])
def test_points_and_classes_must_meet(shape):
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
            fn(P, labels)


def test_number_of_bins_must_be_positive():
    with pytest.raises(ValueError, match="num_bins"):
        calibration_curve(P, [0, 1, 0, 1], 0)


# ---------------------------------------------------------------------------
# predictive_probabilities


def classify(params, x):
    return jax.nn.softmax(jnp.tanh(x @ params["w"]) + params["b"], axis=-1)


@pytest.fixture
def samples():
    rng = np.random.default_rng(2)
    return {"w": rng.normal(size=(2, 7, 3, 4)), "b": rng.normal(size=(2, 7, 4))}


X = np.random.default_rng(3).normal(size=(5, 3))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 14, 100])
def test_predictions_at_every_draw(samples, batch_size):
    out = predictive_probabilities(
        classify, samples, X, batch_ndims=2, batch_size=batch_size
    )
    assert out.shape == (2, 7, 5, 4)
    for chain, draw in np.ndindex(2, 7):
        one = classify({k: v[chain, draw] for k, v in samples.items()}, X)
        np.testing.assert_allclose(out[chain, draw], one, rtol=1e-5)
    mean = predictive_probabilities(
        classify, samples, X, batch_ndims=2, batch_size=batch_size, average=True
    )
    np.testing.assert_allclose(mean, out.mean((0, 1)), rtol=1e-5)
    flat = {k: v.reshape(14, *v.shape[2:]) for k, v in samples.items()}
    np.testing.assert_array_equal(
        predictive_probabilities(classify, flat, X, batch_size=batch_size),
        out.reshape(14, 5, 4),
    )


def test_second_call_compiles_nothing(samples):
    traces = []

    def fn(params, x):
        traces.append(None)
        return classify(params, x)

    for scale in (1.0, 2.0):
        predictive_probabilities(fn, samples, scale * X, batch_ndims=2, batch_size=7)
    assert len(traces) <= 1


def test_memory_follows_the_batch():
    # 1,000 draws of (2000, 4) are 32 MB in single precision; a batch of 10 is 0.32 MB.
    draws = {"w": jnp.zeros((1000, 3, 4)), "b": jnp.zeros((1000, 4))}
    x = jnp.zeros((2000, 3))
    compiled = _map_draws.lower(classify, draws, x, 10, True).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4e6
    compiled = _map_draws.lower(classify, draws, x, 500, False).compile()
    assert compiled.memory_analysis().temp_size_in_bytes > 12e6
    compiled = _map_draws.lower(classify, draws, x, 10, False).compile()
    assert compiled.memory_analysis().output_size_in_bytes >= 32e6
    assert compiled.memory_analysis().temp_size_in_bytes < 4e6


class Unhashable:
    __hash__ = None

    def __call__(self, params, x):
        return classify(params, x)


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "match"),
    [
        ({"b": np.zeros((2, 6, 4))}, {"batch_ndims": 2}, ValueError, "share their"),
        ({"c": np.zeros(2)}, {"batch_ndims": 2}, ValueError, r"'c'.*\(2,\)"),
        ({}, {"batch_ndims": 0}, ValueError, "batch_ndims"),
        ({}, {"batch_size": 0}, ValueError, "batch_size"),
        ({}, {"fn": Unhashable()}, TypeError, "lambda params, x"),
        ({}, {"samples": {}}, ValueError, "no arrays"),
        ({}, {"samples": {"w": np.zeros((0, 3))}}, ValueError, "no draws"),
    ],
)
def test_predictive_probabilities_explains_bad_input(
    samples, change, kwargs, error, match
):
    kwargs = {"fn": classify, "samples": {**samples, **change}, "x": X, **kwargs}
    with pytest.raises(error, match=match):
        predictive_probabilities(**kwargs)
