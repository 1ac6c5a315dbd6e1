# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Scores of predictive class probabilities: two sets of them compared with each other, and
one with labels.
"""

from typing import Any, NamedTuple

import numpy as np

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
"""How far from one probabilities may sum: rounding in single precision is far below."""


class CalibrationCurve(NamedTuple):
    """
    Confidence against accuracy, one value per bin of confidence; NaN where a bin has no
    test point.

    - **confidence** - mean confidence of the points in the bin.
    - **accuracy** - fraction of the points in the bin that are classified rightly.
    - **counts** - number of points in the bin.
    - **edges** - bounds of the bins, one more than bins. A bin holds its upper bound.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    edges: np.ndarray


def agreement(probs_a: Any, probs_b: Any) -> float:
    """
    Fraction of test points at which two posteriors predict the same class: the one with
    the largest posterior-mean predictive probability.

    :param probs_a: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param probs_b: likewise, with draws of its own.
    :return: between 0 and 1.
    :raises ValueError: where points or classes differ, or these are no probabilities.
    """
    a, b = _mean_pair(probs_a, probs_b)
    return float(np.mean(a.argmax(-1) == b.argmax(-1)))


def total_variation(probs_a: Any, probs_b: Any) -> float:
    """
    Total variation distance between two posterior-mean predictive distributions,
    averaged over test points: `mean_points 0.5 * sum_classes |p_a - p_b|`.

    :param probs_a: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param probs_b: likewise, with draws of its own.
    :return: between 0 (the same) and 1 (no class in common).
    :raises ValueError: where points or classes differ, or these are no probabilities.
    """
    a, b = _mean_pair(probs_a, probs_b)
    return float(np.mean(0.5 * np.sum(np.abs(a - b), axis=-1)))


def accuracy(probs: Any, labels: Any) -> float:
    """
    Fraction of test points whose most probable class is their label.

    :param probs: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param labels: whole numbers of shape (points,), from 0 to classes - 1.
    :return: between 0 and 1.
    :raises ValueError: where shapes differ or these are no probabilities or labels.
    """
    p, y = _labelled(probs, labels)
    return float(np.mean(p.argmax(-1) == y))


def log_loss(probs: Any, labels: Any) -> float:
    """
    Mean negative log predictive probability of the labels, of the posterior-mean
    predictive distribution.

    :param probs: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param labels: whole numbers of shape (points,), from 0 to classes - 1.
    :return: in nats per point; infinite where a label has probability zero.
    :raises ValueError: where shapes differ or these are no probabilities or labels.
    """
    p, y = _labelled(probs, labels)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(p[np.arange(y.size), y])))


def calibration_curve(probs: Any, labels: Any, num_bins: int = 15) -> CalibrationCurve:
    """
    Accuracy by confidence, where the confidence at a point is its largest class
    probability, in bins of equal width on (0, 1].

    :param probs: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param labels: whole numbers of shape (points,), from 0 to classes - 1.
    :param int num_bins: number of bins.
    :return: a :class:`CalibrationCurve`.
    :raises ValueError: where shapes differ or these are no probabilities or labels.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more, not {num_bins}.")
    p, y = _labelled(probs, labels)
    confidence = p.max(-1)
    right = p.argmax(-1) == y
    edges = np.arange(num_bins + 1) / num_bins
    rows = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(rows, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        return CalibrationCurve(
            np.bincount(rows, weights=confidence, minlength=num_bins) / counts,
            np.bincount(rows, weights=right, minlength=num_bins) / counts,
            counts,
            edges,
        )


def expected_calibration_error(probs: Any, labels: Any, num_bins: int = 15) -> float:
    """
    Mean distance between confidence and accuracy over bins of confidence, weighted by
    the number of test points in each.

    It is biased upwards: chance alone gives a perfectly calibrated classifier up to
    about `0.4 sqrt(num_bins / n)` on n points.

    **References:**

    1. *On calibration of modern neural networks*, C. Guo, G. Pleiss, Y. Sun,
       K. Q. Weinberger (2017), arXiv:1706.04599.

    :param probs: class probabilities of shape (..., points, classes); axes before the
        last two are draws and are averaged.
    :param labels: whole numbers of shape (points,), from 0 to classes - 1.
    :param int num_bins: number of bins of equal width on (0, 1].
    :return: between 0 and 1.
    :raises ValueError: where shapes differ or these are no probabilities or labels.
    """
    curve = calibration_curve(probs, labels, num_bins)
    some = curve.counts > 0
    gaps = np.abs(curve.confidence - curve.accuracy)[some] * curve.counts[some]
    return float(gaps.sum() / curve.counts.sum())


def mean_probabilities(probs: Any, name: str) -> np.ndarray:
    """
    Class probabilities averaged over draws, in double precision.

    :param probs: array of shape (..., points, classes).
    :param str name: what to call it in errors.
    :return: array of shape (points, classes).
    :raises ValueError: where these are no probabilities.
    """
    p = np.asarray(probs)
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
            f"{name} is not finite in {bad.sum()} of {bad.size} draws, first in "
            f"number {bad.argmax()} (over all leading axes). Did a chain diverge? "
            "Drop it, or sample with a smaller step."
        )
    if flat.min() < 0:
        raise ValueError(
            f"{name} has negative values (down to {flat.min():.3g}). Pass "
            "probabilities, as softmax(logits) returns them."
        )
    error = np.abs(flat.sum(-1) - 1.0).max()
    if error > SUM_TOLERANCE:
        raise ValueError(
            f"{name} does not sum to one over its last axis (off by {error:.3g}). The "
            "last axis must be the classes, and logits need a softmax, in single "
            "precision or better."
        )
    return flat.mean(0)


def _mean_pair(probs_a: Any, probs_b: Any) -> tuple[np.ndarray, np.ndarray]:
    a = mean_probabilities(probs_a, "probs_a")
    b = mean_probabilities(probs_b, "probs_b")
    if a.shape != b.shape:
        raise ValueError(
            f"probs_a has (points, classes) {a.shape} and probs_b {b.shape}: predict "
            "at the same test points with both."
        )
    return a, b


def _labelled(probs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    p = mean_probabilities(probs, "probs")
    y = np.asarray(labels)
    if y.shape != p.shape[:1]:
        raise ValueError(
            f"labels has shape {y.shape} where probs has {p.shape[0]} points; labels "
            f"must be of shape ({p.shape[0]},), the class of each (not one-hot)."
        )
    if y.dtype.kind not in "biu":
        raise ValueError(f"labels must be whole numbers, not {y.dtype}.")
    y = y.astype(np.int64)
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(
            f"labels range from {y.min()} to {y.max()}; with {p.shape[1]} classes they "
            f"must be 0 to {p.shape[1] - 1}."
        )
    return p, y
