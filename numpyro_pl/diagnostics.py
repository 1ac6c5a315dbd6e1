# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How far a posterior is from a reference: in its parameters, in what it predicts, and in
the function that it learned.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from numpyro_pl._convergence import summarize_chains, wasserstein1
from numpyro_pl._draws import posterior_draws, scalar_names
from numpyro_pl._function_rhat import RhatSummary, function_rhat, summarize_rhat
from numpyro_pl._predictive import predictive_probabilities
from numpyro_pl._scores import (
    CalibrationCurve,
    accuracy,
    agreement,
    calibration_curve,
    expected_calibration_error,
    log_loss,
    total_variation,
)

__all__ = [
    "CalibrationCurve",
    "RhatSummary",
    "accuracy",
    "agreement",
    "calibration_curve",
    "compare",
    "expected_calibration_error",
    "function_rhat",
    "log_loss",
    "predictive_probabilities",
    "summarize_rhat",
    "total_variation",
]


def compare(
    posterior: Any,
    reference: Any,
    var_names: str | Sequence[str] | None = None,
    *,
    group_by_chain: bool = True,
) -> pd.DataFrame:
    """
    Compare two posteriors scalar by scalar, in the sites that both have.

    The columns of the table, whose differences are posterior minus reference:

    - **mean**, **mean_ref**, **sd**, **sd_ref** - moments over all chains and draws.
    - **mean_diff_sd** - difference of the means in units of `sd_ref`: the bias.
    - **z_mean** - difference of the means in units of its Monte Carlo standard error,
      of both posteriors together: standard normal where the posteriors are the same.
    - **sd_ratio** - `sd / sd_ref`.
    - **z_sd** - difference of the sd in units of its Monte Carlo standard error.
    - **wasserstein** - Wasserstein-1 distance of the draws, in the parameter's units.
    - **wasserstein_sd** - the same in units of `sd_ref`. Monte Carlo noise alone gives
      a Gaussian about `1.29 sqrt(1 / ess_bulk + 1 / ess_bulk_ref)`.
    - **ess_bulk**, **ess_bulk_ref** - effective sample size of the rank-normalised
      draws.
    - **r_hat**, **r_hat_ref** - rank-normalised split R-hat. Of a single chain it
      compares the two halves (where ArviZ gives none).

    A large `|z_mean|` says that a difference is real, `mean_diff_sd` whether it
    matters. Among thousands of rows a few `|z_mean|` above 3 are chance. Where R-hat is
    far above one, or `ess_bulk` below some hundred, the errors themselves are unsure.

    A row has NaN where a draw is not finite, and `r_hat` is NaN for a parameter that is
    the same in all draws.

    The table's `attrs` hold `posterior_only` and `reference_only` (sites skipped since
    the other has none), `not_finite` (rows with draws that are not finite), `shape` and
    `shape_ref` (chains, draws).

    **Example**

    .. doctest::

        >>> import numpy as np
        >>> from numpyro_pl.diagnostics import compare
        >>> rng = np.random.default_rng(0)
        >>> draws = {"w": rng.normal(size=(4, 1000, 2)), "b": np.zeros((4, 1000))}
        >>> reference = {"w": rng.normal(1.0, size=(4, 1000, 2))}
        >>> table = compare(draws, reference)
        >>> table["mean_diff_sd"].round(1).to_dict()
        {'w[0]': -1.0, 'w[1]': -1.0}
        >>> table.attrs["posterior_only"]
        ['b']

    **References:**

    1. *Rank-normalization, folding, and localization: an improved R-hat*, A. Vehtari,
       A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner (2021), arXiv:1903.08008.

    :param posterior: a NumPyro `MCMC` that has run; an ArviZ `InferenceData`,
        `xarray.DataTree` or `xarray.Dataset`; or a dict by site name of arrays of shape
        (chain, draw, ...).
    :param reference: likewise, with chains and draws of its own.
    :param var_names: sites to compare; by default all that both have.
    :param bool group_by_chain: False for dicts of flat draws, of shape (draw, ...), as
        `mcmc.get_samples()` returns them. They count as one chain. Holds for every dict
        passed, and for nothing else.
    :return: a :class:`pandas.DataFrame` with one row per scalar, indexed by name, as in
        `w[0,1]`.
    :raises TypeError: for arguments that hold no draws.
    :raises ValueError: where no site is common, `var_names` names one that is missing,
        or a site has another shape in the reference.
    """
    draws = posterior_draws(posterior, "posterior", group_by_chain)
    draws_ref = posterior_draws(reference, "reference", group_by_chain)
    sites = _common_sites(draws, draws_ref, var_names)

    names = [
        name for site in sites for name in scalar_names(site, draws[site].shape[2:])
    ]
    x, x_ref = _scalars(draws, sites), _scalars(draws_ref, sites)
    summary, summary_ref = summarize_chains(x), summarize_chains(x_ref)
    distance = wasserstein1(
        x.reshape(-1, x.shape[-1]), x_ref.reshape(-1, x_ref.shape[-1])
    )
    difference = summary.mean - summary_ref.mean
    difference_sd = summary.sd - summary_ref.sd
    table = pd.DataFrame(
        {
            "mean": summary.mean,
            "mean_ref": summary_ref.mean,
            "sd": summary.sd,
            "sd_ref": summary_ref.sd,
            "mean_diff_sd": _in_units(difference, summary_ref.sd),
            "z_mean": _in_units(
                difference, np.hypot(summary.mcse_mean, summary_ref.mcse_mean)
            ),
            "sd_ratio": 1.0 + _in_units(difference_sd, summary_ref.sd),
            "z_sd": _in_units(
                difference_sd, np.hypot(summary.mcse_sd, summary_ref.mcse_sd)
            ),
            "wasserstein": distance,
            "wasserstein_sd": _in_units(distance, summary_ref.sd),
            "ess_bulk": summary.ess_bulk,
            "ess_bulk_ref": summary_ref.ess_bulk,
            "r_hat": summary.r_hat,
            "r_hat_ref": summary_ref.r_hat,
        },
        index=pd.Index(names, name="parameter"),
    )
    table.attrs = {
        "posterior_only": sorted(set(draws) - set(draws_ref)),
        "reference_only": sorted(set(draws_ref) - set(draws)),
        "not_finite": list(table.index[table["wasserstein"].isna()]),
        "shape": x.shape[:2],
        "shape_ref": x_ref.shape[:2],
    }
    return table


def _common_sites(
    draws: dict[str, np.ndarray],
    draws_ref: dict[str, np.ndarray],
    var_names: str | Sequence[str] | None,
) -> list[str]:
    if var_names is None:
        sites = [site for site in draws if site in draws_ref]
    else:
        sites = [var_names] if isinstance(var_names, str) else list(var_names)
        for held, name in ((draws, "posterior"), (draws_ref, "reference")):
            missing = [site for site in sites if site not in held]
            if missing:
                raise ValueError(
                    f"var_names has {missing}, which the {name} does not. Its sites "
                    f"are {sorted(held)}."
                )
    if not sites:
        raise ValueError(
            f"no site to compare: the posterior has {sorted(draws)}, the reference has "
            f"{sorted(draws_ref)}. Rename the keys of a dict so that they meet."
        )
    shapes = {
        site: (draws[site].shape[2:], draws_ref[site].shape[2:]) for site in sites
    }
    differing = [
        f"'{site}' {shape} and {shape_ref}"
        for site, (shape, shape_ref) in shapes.items()
        if shape != shape_ref
    ]
    if differing:
        raise ValueError(
            "sites differ in shape between posterior and reference (chain and draw "
            f"axes left out): {'; '.join(differing)}. Leave them out by var_names, or "
            "pass group_by_chain=False if the draws of a dict are (draw, ...)."
        )
    return sites


def _scalars(draws: dict[str, np.ndarray], sites: list[str]) -> np.ndarray:
    """Sites side by side, of shape (chain, draw, scalars)."""
    columns = [draws[site].reshape(*draws[site].shape[:2], -1) for site in sites]
    return np.concatenate(columns, axis=-1)


def _in_units(difference: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """`difference / unit`, zero where both are: equal constants are no discrepancy."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / unit)
