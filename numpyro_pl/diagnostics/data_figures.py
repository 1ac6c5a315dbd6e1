# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What `report` learns from the model and its data: configurational temperatures, whether
the minibatch noise is normal, and whether it is the noise that the chain assumes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from numpyro_pl.diagnostics.configurational import (
    MOST_DRAWS,
    Positions,
    site_virials,
    with_errors,
)
from numpyro_pl.diagnostics.minibatch_noise import minibatch_noise, noise_normality
from numpyro_pl.diagnostics.run_record import RunRecord
from numpyro_pl.diagnostics.verdicts import Verdict, quantile_of

__all__ = ["DataFigures", "judged_with_data", "measured_with_data"]

COLUMNS = ["temperature", "temperature_se"]

POSITION_ERROR = 0.05
"""Relative error of the configurational temperature that matters."""

UNKNOWN_POSITIONS = 0.1
"""Standard error of the configurational temperature from which it says nothing."""

MOST_KURTOSIS, LEAST_NOISE = 1.0, 0.01
"""Excess kurtosis of the minibatch noise that matters, and the noise fraction below
which nothing about the noise does."""

STALE, STALE_RATIO = 0.03, 1.5
"""Difference of the noise fraction from the one measured afresh that matters, and their
ratio."""


class DataFigures(NamedTuple):
    """
    Figures that need the model and its data. Temperatures are relative to the target.

    - **sites** - a row for each latent site: its `group`, its number of `coordinates`,
      `temperature` and `temperature_se` (configurational); with minibatches also
      `skewness` and `excess_kurtosis` of their noise, with standard errors.
    - **by_group** - a row for each group: `temperature`, `temperature_se`; for kernels
      that track their noise also `noise_fraction`, measured afresh at the last draws,
      and `noise_ratio`, what it is relative to the one that the chains assume.
    - **by_chain** - `temperature` and `temperature_se` of each chain and group.
    """

    sites: pd.DataFrame
    by_group: pd.DataFrame
    by_chain: pd.DataFrame


def measured_with_data(
    record: RunRecord, model: Callable, data: tuple, rng_key: jax.Array | None
) -> DataFigures:
    """
    The figures that need the model and its data.

    :param RunRecord record: the run.
    :param model: its model.
    :param data: positional and keyword arguments of the model.
    :param rng_key: key of the minibatches.
    """
    key_noise, key_fresh = jax.random.split(
        jax.random.key(0) if rng_key is None else rng_key
    )
    positions = Positions(record.draws, model, data)
    sizes, virials = positions.sizes, site_virials(positions, MOST_DRAWS)
    group_of, targets = _groups(record, sizes)
    sites = pd.DataFrame(
        [
            (group_of[site], n, *_scaled(virials[site] / n, targets[group_of[site]]))
            for site, n in sizes.items()
        ],
        index=pd.Index(sizes, name="site"),
        columns=["group", "coordinates", *COLUMNS],
    )
    if positions.potential.plates:
        args, kwargs = data
        noise = minibatch_noise(model, positions.at(0, -1), key_noise, *args, **kwargs)
        sites = sites.join(noise_normality(noise).drop(columns="coordinates"))
    by_group, by_chain = {}, {}
    for name, target in targets.items():
        members = [site for site, group in group_of.items() if group == name]
        size = sum(sizes[site] for site in members)
        values = np.sum([virials[site] for site in members], axis=0) / size
        by_group[name] = _scaled(values, target)
        for c, of_chain in enumerate(values):
            by_chain[c, name] = _scaled(of_chain[None], target)
    chains = pd.DataFrame.from_dict(by_chain, orient="index", columns=COLUMNS)
    chains.index = pd.MultiIndex.from_tuples(by_chain, names=["chain", "group"])
    groups = pd.DataFrame.from_dict(by_group, orient="index", columns=COLUMNS)
    figures = DataFigures(sites, groups.rename_axis("group"), chains.sort_index())
    return _with_fresh_noise(record, figures, key_fresh, data)


def judged_with_data(record: RunRecord, figures: DataFigures) -> list[Verdict]:
    """
    The verdicts that need the model and its data.

    :param RunRecord record: the run.
    :param DataFigures figures: its figures.
    """
    found = [_positions(figures)]
    noise = figures.by_group.get("noise_fraction")
    if "excess_kurtosis" in figures.sites and (
        noise is None or noise.max() > LEAST_NOISE
    ):
        found.append(_normality(figures.sites))
    matters = noise is not None and (
        max(noise.max(), (noise / figures.by_group.noise_ratio).max()) > LEAST_NOISE
    )
    if matters:
        found.append(_stale(figures.by_group))
    return found


def _positions(figures: DataFigures) -> Verdict:
    """Whether positions have the temperature of the target."""
    sites, subject = figures.sites, "positions"
    error = sites.temperature - 1
    chance = quantile_of(len(sites)) * sites.temperature_se
    beyond = error.abs() > POSITION_ERROR + chance
    site = error[beyond].abs().idxmax() if beyond.any() else error.abs().idxmax()
    row = sites.loc[site]
    text = (
        f"The configurational temperature of {site} is {row.temperature:.3f} ± "
        f"{row.temperature_se:.3f} times the target"
    )
    if beyond.any():
        hot = row.temperature > 1
        return Verdict(
            subject,
            "bad",
            f"{text}: its posterior is too {'wide' if hot else 'narrow'}.",
            "Lower noise_fraction and max_frequency, and warm up longer."
            if hot
            else "Draw more and warm up longer: chains that have not spread look cold.",
        )
    if not sites.temperature_se.max() < UNKNOWN_POSITIONS:
        return Verdict(subject, "unknown", f"{text}, too uncertain to judge.")
    others = "." if len(sites) == 1 else f", the worst of {len(sites)} sites."
    return Verdict(subject, "good", f"{text}{others}")


def _normality(sites: pd.DataFrame) -> Verdict:
    """Whether two moments describe the minibatch noise."""
    certain = sites.excess_kurtosis - 3 * sites.excess_kurtosis_se
    worst = sites.excess_kurtosis.fillna(-np.inf).idxmax()
    row = sites.loc[worst]
    text = (
        f"The minibatch noise of {worst} has an excess kurtosis of "
        f"{row.excess_kurtosis:.2g} ± {row.excess_kurtosis_se:.1g}"
    )
    if (certain > MOST_KURTOSIS).any():
        return Verdict(
            "normal noise",
            "bad",
            f"{text}: a few rows decide, and its variance does not describe it.",
            "Raise subsample_size, or lower noise_fraction.",
        )
    return Verdict("normal noise", "good", f"{text}: nearly normal.")


def _stale(groups: pd.DataFrame) -> Verdict:
    """Whether the noise is the one that the chain assumes."""
    ratio, fresh = groups.noise_ratio, groups.noise_fraction
    off = (fresh - fresh / ratio).abs() > STALE
    off &= (ratio > STALE_RATIO) | (ratio < 1 / STALE_RATIO)
    worst = np.log(ratio).abs().idxmax()
    text = (
        f"Measured afresh, the minibatch noise is {ratio[worst]:.2f} times what the "
        "chain assumes"
    )
    if off.any():
        return Verdict(
            "noise now",
            "bad",
            f"{text}: its estimate is out of date.",
            "Warm up longer, and leave variance_rate at its default.",
        )
    return Verdict("noise now", "good", f"{text}.")


def _groups(record: RunRecord, sizes: dict) -> tuple[dict, dict]:
    """Name of the group of each site, and the target's temperature of each group."""
    account, names = record.account, record.groups
    if not names:
        return dict.fromkeys(sizes, "all parameters"), {"all parameters": 1.0}
    assert record.target is not None
    targets = dict(zip(names, record.target, strict=True))
    if len(names) == 1:
        return dict.fromkeys(sizes, names[0]), targets
    if account is None:
        # Without the kernel nobody knows which site is in which group.
        return dict.fromkeys(sizes, "all parameters"), {"all parameters": 1.0}
    return {site: names[account.group_of[site]] for site in sizes}, targets


def _scaled(values: np.ndarray, target: float) -> tuple[float, float]:
    """Mean relative to the target, and its standard error."""
    mean, error = with_errors(values)
    return mean / target, error / target


def _with_fresh_noise(
    record: RunRecord, figures: DataFigures, rng_key: jax.Array, data: tuple
) -> DataFigures:
    """The figures with the noise measured afresh, where the kernel can do that."""
    assumed = record.noise_fraction
    if record.account is None or assumed is None or not (assumed[:, -1] > 0).any():
        return figures
    if not any(record.account.tracks_noise or [False]):
        return figures
    fresh = record.account.fresh_noise(rng_key, data)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = fresh.mean(0) / assumed[:, -1].mean(0)
    groups = pd.DataFrame(
        {"noise_fraction": fresh.mean(0), "noise_ratio": ratio}, index=record.groups
    )
    return figures._replace(by_group=figures.by_group.join(groups))
