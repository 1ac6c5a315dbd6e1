# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Comparison of two posteriors scalar by scalar, in their parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from numpyro_pl.diagnostics.convergence import (
    ChainSummary,
    summarize_chains,
    wasserstein1,
)
from numpyro_pl.diagnostics.draws import posterior_draws, scalar_names

__all__ = ["compare"]

Draws: TypeAlias = Mapping[str, np.ndarray]
"""Arrays of shape (chain, draw, ...) by site name."""


def compare(
    posterior: Any,
    reference: Any,
    var_names: str | Sequence[str] | None = None,
    *,
    group_by_chain: bool = True,
) -> pd.DataFrame:
    """
    Compare two posteriors scalar by scalar, at the sites that both have.

    Columns of the table; differences are posterior minus reference:

    - **mean**, **mean_ref**, **sd**, **sd_ref** - moments over all chains and draws.
    - **mean_diff_sd** - difference of the means in units of `sd_ref`: the bias.
    - **z_mean** - difference of the means in units of its Monte Carlo standard error,
      which includes the errors of both: standard normal if the posteriors are equal.
    - **sd_ratio** - `sd / sd_ref`.
    - **z_sd** - difference of the sd in units of its Monte Carlo standard error.
    - **wasserstein** - Wasserstein-1 distance of the draws, in the parameter's units.
    - **wasserstein_sd** - the same in units of `sd_ref`. For equal Gaussians, Monte
      Carlo noise alone gives about `1.29 sqrt(1 / ess_bulk + 1 / ess_bulk_ref)`.
    - **ess_bulk**, **ess_bulk_ref** - effective sample size of the rank-normalized
      draws.
    - **r_hat**, **r_hat_ref** - rank-normalized split R-hat. For a single chain it
      compares the two halves (ArviZ returns NaN).

    A large `|z_mean|` shows that a difference is real, `mean_diff_sd` whether it
    matters. Among thousands of rows, a few have `|z_mean|` above 3 by chance. If R-hat
    is far above one or `ess_bulk` below a few hundred, the standard errors are
    unreliable.

    A row contains NaN if a draw is not finite. `r_hat` is NaN if all draws are equal.

    The table's `attrs` hold `posterior_only` and `reference_only` (sites skipped
    because the other posterior lacks them), `not_finite` (rows with draws that are not
    finite), and `shape` and `shape_ref` (chains, draws).

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
    :param reference: the same, with any number of chains and draws.
    :param var_names: sites to compare; by default all that both have.
    :param bool group_by_chain: False if dicts hold flat draws of shape (draw, ...), as
        `mcmc.get_samples()` returns them; these count as one chain. Applies to every
        dict passed, and to no other source.
    :return: a :class:`pandas.DataFrame` with one row per scalar, indexed by name, as in
        `w[0,1]`.
    :raises TypeError: if an argument is not a source of draws.
    :raises ValueError: if there is no common site, `var_names` has one that is missing,
        or a site has another shape in the reference.
    """
    draws = posterior_draws(posterior, "posterior", group_by_chain)
    draws_ref = posterior_draws(reference, "reference", group_by_chain)
    sites = _common_sites(draws, draws_ref, var_names)

    names = [
        name for site in sites for name in scalar_names(site, draws[site].shape[2:])
    ]
    x, x_ref = _scalars(draws, sites), _scalars(draws_ref, sites)
    columns = _columns(
        summarize_chains(x),
        summarize_chains(x_ref),
        wasserstein1(x.reshape(-1, len(names)), x_ref.reshape(-1, len(names))),
    )
    table = pd.DataFrame(columns, index=pd.Index(names, name="parameter"))
    table.attrs = {
        "posterior_only": sorted(set(draws) - set(draws_ref)),
        "reference_only": sorted(set(draws_ref) - set(draws)),
        "not_finite": list(table.index[table["wasserstein"].isna()]),
        "shape": x.shape[:2],
        "shape_ref": x_ref.shape[:2],
    }
    return table


def _columns(
    summary: ChainSummary, reference: ChainSummary, distance: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of the table, in their order, each with one value per scalar."""
    mean_diff = summary.mean - reference.mean
    sd_diff = summary.sd - reference.sd
    mcse_mean = np.hypot(summary.mcse_mean, reference.mcse_mean)
    mcse_sd = np.hypot(summary.mcse_sd, reference.mcse_sd)
    return {
        "mean": summary.mean,
        "mean_ref": reference.mean,
        "sd": summary.sd,
        "sd_ref": reference.sd,
        "mean_diff_sd": _in_units(mean_diff, reference.sd),
        "z_mean": _in_units(mean_diff, mcse_mean),
        "sd_ratio": 1.0 + _in_units(sd_diff, reference.sd),
        "z_sd": _in_units(sd_diff, mcse_sd),
        "wasserstein": distance,
        "wasserstein_sd": _in_units(distance, reference.sd),
        "ess_bulk": summary.ess_bulk,
        "ess_bulk_ref": reference.ess_bulk,
        "r_hat": summary.r_hat,
        "r_hat_ref": reference.r_hat,
    }


def _common_sites(
    draws: Draws, draws_ref: Draws, var_names: str | Sequence[str] | None
) -> list[str]:
    """The sites to compare, in the order of the posterior or of `var_names`."""
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
            f"{sorted(draws_ref)}. Rename the keys of a dict so that they match."
        )
    _check_event_shapes(draws, draws_ref, sites)
    return sites


def _check_event_shapes(draws: Draws, draws_ref: Draws, sites: list[str]) -> None:
    shapes = [
        (site, draws[site].shape[2:], draws_ref[site].shape[2:]) for site in sites
    ]
    differing = [f"'{site}' {a} and {b}" for site, a, b in shapes if a != b]
    if differing:
        raise ValueError(
            "sites differ in shape between posterior and reference (without chain and "
            f"draw axes): {'; '.join(differing)}. Leave them out with var_names, or "
            "pass group_by_chain=False if the draws of a dict are (draw, ...)."
        )


def _scalars(draws: Draws, sites: list[str]) -> np.ndarray:
    """Sites side by side, of shape (chain, draw, scalars)."""
    columns = [draws[site].reshape(*draws[site].shape[:2], -1) for site in sites]
    return np.concatenate(columns, axis=-1)


def _in_units(difference: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """`difference / unit`, with 0 / 0 = 0: equal constants do not differ."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / unit)
