# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Error, loss and calibration of a single draw of a classifier, as JAX functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.checks import check_integer

__all__ = ["classification_metrics"]


def classification_metrics(
    logits: Callable[[Tree, Any], jax.Array], x: Any, y_true: Any, num_bins: int = 15
) -> Callable[[Tree], dict[str, jax.Array]]:
    """
    Error, loss and calibration of a classifier at one draw, for
    :func:`temperature_sweep`. They are those of :func:`accuracy`, :func:`log_loss` and
    :func:`expected_calibration_error` for the probabilities of that draw alone; the
    average over draws of probabilities is a better classifier, and needs its own
    metric (see the docs).

    :param logits: function (constrained values by site, x) -> logits of shape (points,
        classes); logarithms of probabilities are logits too.
    :param x: inputs, passed on as they are.
    :param y_true: labels, whole numbers from 0 to classes - 1, of shape (points,).
    :param int num_bins: number of bins of confidence of the calibration error.
    :return: function from constrained values to a dict of scalars: `error` (fraction of
        wrong classes), `loss` (nats per point), `calibration_error`.
    :raises ValueError: for labels of another shape or kind; when it is called, for
        logits of another shape.
    """
    labels = np.asarray(y_true)
    num_bins = check_integer("num_bins", num_bins)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "biu":
        raise ValueError(
            "y_true must be whole numbers of shape (points,), the class of each point "
            f"(not one-hot); got shape {labels.shape}, {labels.dtype}."
        )
    labels = labels.astype(int)

    def metrics(values):
        out = jnp.asarray(logits(values, x))
        if out.ndim != 2 or len(out) != len(labels) or out.shape[1] <= labels.max():
            raise ValueError(
                f"logits has shape {out.shape}; for these labels it must be (points, "
                f"classes) with {len(labels)} points and at least {labels.max() + 1} "
                "classes (for two classes stack [0, logit])."
            )
        logp = jax.nn.log_softmax(out)
        right = out.argmax(-1) == labels
        return {
            "error": 1.0 - right.mean(),
            "loss": -logp[jnp.arange(len(labels)), labels].mean(),
            "calibration_error": _calibration_error(logp, right, num_bins),
        }

    return metrics


def _calibration_error(logp: jax.Array, right: jax.Array, num_bins: int) -> jax.Array:
    """
    Mean of `|confidence - accuracy|` over bins, weighted by their points: the sum over
    bins of `|sum (confidence - right)|` over the number of points.
    """
    confidence = jnp.exp(logp.max(-1))
    edges = jnp.arange(num_bins + 1) / num_bins
    bins = jnp.clip(jnp.searchsorted(edges, confidence) - 1, 0, num_bins - 1)
    gaps = jax.ops.segment_sum(confidence - right, bins, num_bins)
    return jnp.abs(gaps).sum() / len(right)
