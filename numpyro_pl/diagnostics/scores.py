# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Scores of predictive class probabilities, against a reference or against labels.

Arguments are in the order of scikit-learn: `y_true` before `y_prob`.
"""

from typing import Any, NamedTuple

import numpy as np

from numpyro_pl.trees.checks import check_integer

__all__ = [
    "CalibrationCurve",
    "accuracy",
    "agreement",
    "calibration_curve",
    "expected_calibration_error",
    "log_loss",
    "mean_probabilities",
    "total_variation",
]

SUM_TOLERANCE = 1e-3
"""Largest error of a sum of probabilities: well above rounding in single precision."""


class CalibrationCurve(NamedTuple):
    """
    Accuracy and confidence by bin of confidence; both NaN in an empty bin.

    - **confidence** - mean confidence of the points in each bin.
    - **accuracy** - fraction of the points in each bin that are classified correctly.
    - **counts** - number of points in each bin.
    - **edges** - edges of the bins, one more than bins. A bin includes its upper edge.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    edges: np.ndarray


def agreement(y_prob: Any, y_prob_ref: Any) -> float:
    """
    Fraction of test points at which two posteriors predict the same class: the one with
    the largest posterior-mean predictive probability.

    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :param y_prob_ref: class probabilities of the reference at the same points, with
        any number of draws.
    :return: between 0 and 1.
    :raises ValueError: if points or classes differ, or values are not probabilities.
    """
    p, p_ref = _mean_pair(y_prob, y_prob_ref)
    return float(np.mean(p.argmax(-1) == p_ref.argmax(-1)))


def total_variation(y_prob: Any, y_prob_ref: Any) -> float:
    """
    Total variation distance between two posterior-mean predictive distributions,
    averaged over test points: `mean_points 0.5 * sum_classes |p - p_ref|`.

    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :param y_prob_ref: class probabilities of the reference at the same points, with
        any number of draws.
    :return: between 0 (equal) and 1 (no class in common).
    :raises ValueError: if points or classes differ, or values are not probabilities.
    """
    p, p_ref = _mean_pair(y_prob, y_prob_ref)
    return float(np.mean(0.5 * np.sum(np.abs(p - p_ref), axis=-1)))


def accuracy(y_true: Any, y_prob: Any) -> float:
    """
    Fraction of test points at which the most probable class is the label.

    :param y_true: labels, whole numbers from 0 to classes - 1, of shape (points,).
    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :return: between 0 and 1.
    :raises ValueError: if shapes differ, or values are not probabilities or labels.
    """
    y, p = _labels_and_probabilities(y_true, y_prob)
    return float(np.mean(p.argmax(-1) == y))


def log_loss(y_true: Any, y_prob: Any) -> float:
    """
    Mean negative log probability of the labels under the posterior-mean predictive
    distribution.

    :param y_true: labels, whole numbers from 0 to classes - 1, of shape (points,).
    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :return: in nats per point; infinite if a label has probability zero.
    :raises ValueError: if shapes differ, or values are not probabilities or labels.
    """
    y, p = _labels_and_probabilities(y_true, y_prob)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(p[np.arange(y.size), y])))


def calibration_curve(y_true: Any, y_prob: Any, num_bins: int = 15) -> CalibrationCurve:
    """
    Accuracy by confidence, in bins of equal width on (0, 1]. The confidence at a point
    is its largest class probability.

    :param y_true: labels, whole numbers from 0 to classes - 1, of shape (points,).
    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :param int num_bins: number of bins.
    :return: a :class:`CalibrationCurve`.
    :raises ValueError: if shapes differ, or values are not probabilities or labels.
    """
    num_bins = check_integer("num_bins", num_bins)
    y, p = _labels_and_probabilities(y_true, y_prob)
    confidence = p.max(-1)
    correct = p.argmax(-1) == y
    edges = np.arange(num_bins + 1) / num_bins
    rows = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(rows, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        return CalibrationCurve(
            np.bincount(rows, weights=confidence, minlength=num_bins) / counts,
            np.bincount(rows, weights=correct, minlength=num_bins) / counts,
            counts,
            edges,
        )


def expected_calibration_error(y_true: Any, y_prob: Any, num_bins: int = 15) -> float:
    """
    Mean of `|confidence - accuracy|` over bins of confidence, weighted by the number of
    test points in each bin.

    The estimate is biased upwards: a perfectly calibrated classifier has up to about
    `0.4 sqrt(num_bins / n)` on n points by chance.

    **References:**

    1. *On calibration of modern neural networks*, C. Guo, G. Pleiss, Y. Sun,
       K. Q. Weinberger (2017), arXiv:1706.04599.

    :param y_true: labels, whole numbers from 0 to classes - 1, of shape (points,).
    :param y_prob: class probabilities of shape (..., points, classes); leading axes are
        draws and are averaged.
    :param int num_bins: number of bins of equal width on (0, 1].
    :return: between 0 and 1.
    :raises ValueError: if shapes differ, or values are not probabilities or labels.
    """
    curve = calibration_curve(y_true, y_prob, num_bins)
    some = curve.counts > 0
    gaps = np.abs(curve.confidence - curve.accuracy)[some] * curve.counts[some]
    return float(gaps.sum() / curve.counts.sum())


def mean_probabilities(y_prob: Any, name: str) -> np.ndarray:
    """
    Class probabilities averaged over draws, in double precision.

    :param y_prob: array of shape (..., points, classes).
    :param str name: name of the array in error messages.
    :return: array of shape (points, classes).
    :raises ValueError: if the values are not probabilities.
    """
    p = np.asarray(y_prob)
    if p.ndim < 2:
        raise ValueError(
            f"{name} has shape {p.shape}; it must be (..., points, classes). For two "
            "classes stack both probabilities: stack([1 - p, p], -1)."
        )
    if p.size == 0:
        raise ValueError(f"{name} is empty: its shape is {p.shape}.")
    p = p.astype(np.float64)
    flat = p.reshape(-1, *p.shape[-2:])
    bad = ~np.isfinite(flat).all((1, 2))
    if bad.any():
        raise ValueError(
            f"{name} is not finite in {bad.sum()} of {bad.size} draws, first in draw "
            f"{bad.argmax()} (leading axes flattened, from 0). Did a chain diverge? "
            "Drop it, or sample with a smaller step size."
        )
    if flat.min() < 0:
        raise ValueError(
            f"{name} has negative values (down to {flat.min():.3g}). Pass "
            "probabilities, such as softmax(logits)."
        )
    error = np.abs(flat.sum(-1) - 1.0).max()
    if error > SUM_TOLERANCE:
        raise ValueError(
            f"{name} does not sum to one over its last axis (off by {error:.3g}). The "
            "last axis must be the classes, and the values probabilities, such as "
            "softmax(logits), in single precision or better."
        )
    return flat.mean(0)


def _mean_pair(y_prob: Any, y_prob_ref: Any) -> tuple[np.ndarray, np.ndarray]:
    p = mean_probabilities(y_prob, "y_prob")
    p_ref = mean_probabilities(y_prob_ref, "y_prob_ref")
    if p.shape != p_ref.shape:
        raise ValueError(
            f"y_prob has (points, classes) {p.shape} and y_prob_ref {p_ref.shape}: "
            "predict at the same test points with both."
        )
    return p, p_ref


def _labels_and_probabilities(
    y_true: Any, y_prob: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of shape (points,), and probabilities of shape (points, classes)."""
    y = np.asarray(y_true)
    _check_order(y, np.asarray(y_prob))
    p = mean_probabilities(y_prob, "y_prob")
    if y.shape != p.shape[:1]:
        raise ValueError(
            f"y_true has shape {y.shape} but y_prob has {p.shape[0]} points; y_true "
            f"must have shape ({p.shape[0]},), the class of each point (not one-hot)."
        )
    if y.dtype.kind not in "biu":
        raise ValueError(f"y_true must be whole numbers, not {y.dtype}.")
    y = y.astype(np.int64)
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(
            f"y_true ranges from {y.min()} to {y.max()}; with {p.shape[1]} classes it "
            f"must be 0 to {p.shape[1] - 1}."
        )
    return y, p


def _check_order(y_true: np.ndarray, y_prob: np.ndarray) -> None:
    """Check for labels in place of probabilities: most likely the two are swapped."""
    if y_prob.ndim == 1 and y_prob.dtype.kind in "biu" and y_true.ndim >= 2:
        raise ValueError(
            f"y_true has shape {y_true.shape} and y_prob {y_prob.shape}, of whole "
            "numbers. Are the two swapped? The order is (y_true, y_prob): labels of "
            "shape (points,) first, then probabilities of shape (..., points, classes)."
        )
