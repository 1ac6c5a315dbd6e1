# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""R-hat of the predictions of a model instead of its parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from numpyro_pl.diagnostics.convergence import MIN_DRAWS, rank_rhat

__all__ = ["RhatSummary", "function_rhat", "summarize_rhat"]


class RhatSummary(NamedTuple):
    """
    Summary of the R-hats of many functions, such as predictions at test points.

    - **max** - the largest R-hat.
    - **quantiles** - dict of the quantiles requested.
    - **fraction_above** - fraction of the functions with R-hat above the threshold.
    - **num_functions** - number of functions with an R-hat.
    - **num_constant** - number of functions left out because they are equal in all
      draws.
    """

    max: float
    quantiles: dict[float, float]
    fraction_above: float
    num_functions: int
    num_constant: int


def function_rhat(predictions: Any) -> np.ndarray:
    """
    Rank-normalized split R-hat of the predictions at each test point.

    The weights of a network are not identified: units can be permuted, and signs and
    scales moved between layers. Their R-hat can be large although all chains have
    learned the same function.

    **References:**

    1. *What are Bayesian neural network posteriors really like?*, P. Izmailov,
       S. Vikram, M. D. Hoffman, A. G. Wilson (2021), arXiv:2104.14421.
    2. *Rank-normalization, folding, and localization: an improved R-hat*, A. Vehtari,
       A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner (2021), arXiv:1903.08008.

    :param predictions: array of shape (chain, draw, points) or (chain, draw, points,
        classes): class probabilities, logits, or regression means.
    :return: array of shape (points,) or (points, classes). NaN where a prediction is
        equal in all draws. For a single chain, R-hat compares the two halves.
    :raises ValueError: for too few axes or draws, or values that are not finite.
    """
    x = np.asarray(predictions)
    if x.ndim < 3:
        raise ValueError(
            f"predictions has shape {x.shape}; it must be (chain, draw, points) or "
            "(chain, draw, points, classes). For a single chain add an axis: x[None]."
        )
    if x.shape[1] < MIN_DRAWS or x.shape[0] < 1:
        raise ValueError(
            f"predictions has {x.shape[0]} chains of {x.shape[1]} draws; at least 1 "
            f"chain of {MIN_DRAWS} draws is needed. Are its axes (chain, draw, ...)?"
        )
    bad = ~np.isfinite(x.reshape(x.shape[0], -1)).all(-1)
    if bad.any():
        raise ValueError(
            f"predictions is not finite in chains {np.flatnonzero(bad).tolist()}. Did "
            "they diverge? Drop them, or sample with a smaller step size."
        )
    return rank_rhat(x.reshape(*x.shape[:2], -1)).reshape(x.shape[2:])


def summarize_rhat(
    r_hat: Any,
    quantiles: Sequence[float] = (0.5, 0.9, 0.99),
    threshold: float = 1.05,
) -> RhatSummary:
    """
    Largest value and quantiles of many R-hats, as :func:`function_rhat` returns them.

    :param r_hat: array of any shape; NaN (constant functions) are counted and left out.
    :param quantiles: quantiles to compute, between 0 and 1.
    :param float threshold: R-hat above which a function counts as not converged.
    :return: a :class:`RhatSummary`.
    :raises ValueError: if no function varies.
    """
    values = np.asarray(r_hat, dtype=np.float64).ravel()
    varying = values[~np.isnan(values)]
    if not varying.size:
        raise ValueError(
            f"none of {values.size} functions varies between draws, so none has an "
            "R-hat."
        )
    # No interpolation between sorted values: next to an infinite one it gives NaN.
    found = np.quantile(varying, np.asarray(quantiles, float), method="inverted_cdf")
    return RhatSummary(
        max=float(varying.max()),
        quantiles={float(q): float(v) for q, v in zip(quantiles, found, strict=True)},
        fraction_above=float(np.mean(varying > threshold)),
        num_functions=int(varying.size),
        num_constant=int(values.size - varying.size),
    )
