# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The figures of a finished run from which `report` judges it, as tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from numpyro_pl.diagnostics.convergence import (
    MIN_DRAWS,
    ess_within_chains,
    summarize_chains,
)
from numpyro_pl.diagnostics.run_record import RunRecord, scalars_of, sites_of_interest

__all__ = ["POTENTIAL", "RunFigures", "measured"]

POTENTIAL = "potential"
"""Name of the potential in the table of sites."""


class RunFigures(NamedTuple):
    """
    Figures of a run. Temperatures are relative to the target.

    - **by_group** - a row for each group, over all chains: `temperature`,
      `temperature_se`, `noise_fraction`.
    - **by_chain** - the same for each chain and group.
    - **chains** - a row for each chain: `divergences` and the mean `potential`.
    - **scalars** - a row for each scalar looked at, the potential first: `site`,
      `r_hat`, `ess`, and `ess_within`, which counts only correlations within chains.
    - **drift** - fall of the potential from the first to the last third of the draws,
      in its standard deviations within the last, and the standard error of that; NaN
      where it is not known.
    - **frozen** - groups whose noise fraction is the same at every draw.
    """

    by_group: pd.DataFrame
    by_chain: pd.DataFrame
    chains: pd.DataFrame
    scalars: pd.DataFrame
    drift: tuple[float, float]
    frozen: list[str]


def measured(
    record: RunRecord, var_names: str | Sequence[str] | None = None
) -> RunFigures:
    """
    The figures of a run.

    :param RunRecord record: the run.
    :param var_names: sites to look at; by default all.
    """
    num_chains, _ = record.shape
    columns: dict[str, Any] = {}
    if record.diverging is not None:
        columns["divergences"] = record.diverging.sum(1)
    if record.potential is not None:
        columns["potential"] = record.potential.mean(1)
    numbers = pd.RangeIndex(num_chains, name="chain")
    return RunFigures(
        by_group=_temperatures(record, None),
        by_chain=pd.concat(
            {c: _temperatures(record, c) for c in range(num_chains)}, names=["chain"]
        ),
        chains=pd.DataFrame(columns, index=numbers),
        scalars=_scalars(record, var_names),
        drift=_drift(record.potential),
        frozen=_frozen(record),
    )


def _temperatures(record: RunRecord, chain: int | None) -> pd.DataFrame:
    """Kinetic temperature and noise by group, of one chain or of all."""
    some = slice(None) if chain is None else slice(chain, chain + 1)
    index = pd.Index(record.groups, name="group")
    columns: dict[str, Any] = {}
    if record.temperature is not None:
        values = _without_divergences(record)[some]
        summary = summarize_chains(values)
        columns["temperature"] = summary.mean
        columns["temperature_se"] = summary.mcse_mean
    if record.noise_fraction is not None:
        columns["noise_fraction"] = record.noise_fraction[some].mean((0, 1))
    return pd.DataFrame(columns, index=index)


def _without_divergences(record: RunRecord) -> np.ndarray:
    """Temperatures, those of diverged draws replaced by the mean of the others."""
    values, diverging = record.temperature, record.diverging
    assert values is not None
    if diverging is None or not diverging.any():
        return values
    kept = np.where(diverging[..., None], np.nan, values)
    count = (~diverging).sum(1)[:, None]
    with np.errstate(invalid="ignore"):
        mean = np.nansum(kept, 1) / count
    return np.where(diverging[..., None], mean[:, None], values)


def _scalars(record: RunRecord, var_names) -> pd.DataFrame:
    """Convergence of the potential and of the scalars of some sites."""
    sites = sites_of_interest(record.draws, var_names)
    of_site, names, draws = scalars_of(record.draws, sites)
    if record.potential is not None:
        of_site, names = [POTENTIAL, *of_site], [POTENTIAL, *names]
        draws = np.concatenate([record.potential[..., None], draws], -1)
    summary = summarize_chains(draws)
    return pd.DataFrame(
        {
            "site": of_site,
            "r_hat": summary.r_hat,
            "ess": summary.ess_bulk,
            "ess_within": ess_within_chains(draws),
        },
        index=pd.Index(names, name="scalar"),
    )


def _drift(potential: np.ndarray | None) -> tuple[float, float]:
    """Fall of the potential in its standard deviations, and its standard error."""
    third = 0 if potential is None else potential.shape[1] // 3
    if potential is None or third < MIN_DRAWS or not np.isfinite(potential).all():
        return np.nan, np.nan
    first, last = potential[:, :third], potential[:, -third:]
    sd = np.sqrt(last.var(1, ddof=1).mean())
    if sd == 0:
        return np.nan, np.nan
    fall = (first.mean(1) - last.mean(1)).mean() / sd
    ess = min(ess_within_chains(part[..., None])[0] for part in (first, last))
    return float(fall), float(np.sqrt(2 / ess))


def _frozen(record: RunRecord) -> list[str]:
    """Groups that should track their noise, but whose noise never changes."""
    noise, account = record.noise_fraction, record.account
    tracks = None if account is None else account.tracks_noise
    if noise is None or tracks is None or len(tracks) != noise.shape[-1]:
        return []
    still = (np.ptp(noise, axis=1) == 0).all(0) & (noise > 0).all((0, 1))
    return [
        name
        for name, one, tracked in zip(record.groups, still, tracks, strict=True)
        if one and tracked
    ]
