# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What the figures of a run mean: one sentence for each question, and what to change.

What is called bad is larger than what matters and than what chance makes. The second
bound comes from standard errors, and is so wide that a good chain is called bad in
fewer than 5 of 100 runs (`tests/benchmarks/bench_report.py` measures how often).
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm

from numpyro_pl.diagnostics.run_figures import RunFigures
from numpyro_pl.diagnostics.run_record import RunRecord

__all__ = ["CHANCE", "Verdict", "judged", "quantile_of"]

CHANCE = 0.002
"""Rate at which one question may be answered wrongly about a good chain, where chance
alone decides."""

TEMPERATURE_ERROR, TEMPERATURE_CHAIN = 0.07, 0.12
"""Relative errors of the kinetic temperature that matter: over all chains, in one. By
default kernels that do not compensate their noise are 5 % too hot."""

UNKNOWN_TEMPERATURE = 0.03
"""Standard error of the kinetic temperature from which it says nothing."""

LEFT_OVER = 0.25
"""Excess of the temperature along the worst direction, relative to the target."""

BAD_SHARE = 0.03
"""Share of diverged draws of kernels that drop them."""

DRIFT = 0.5
"""Drift of the potential in its standard deviations that matters."""

APART = 1.05
"""R-hat that matters."""

ESS_OF_CHAIN, LEAST_ESS = 50, 100
"""Effective draws of every scalar that are enough: for each chain, and in all."""


class Verdict(NamedTuple):
    """
    The answer to one question.

    - **subject** - what was asked, in a word or two.
    - **status** - `"good"`, `"bad"`, or `"unknown"` where the run does not tell.
    - **sentence** - the answer.
    - **remedy** - what to change; empty where nothing is to be changed.
    """

    subject: str
    status: str
    sentence: str
    remedy: str = ""


def judged(record: RunRecord, figures: RunFigures) -> list[Verdict]:
    """
    The verdicts that a run allows without the model and its data.

    :param RunRecord record: the run.
    :param RunFigures figures: its figures.
    """
    found: list[Verdict | None] = [_divergences(record, figures)]
    if record.temperature is not None:
        found += [_temperature(figures), _noise(record, figures)]
    settled = _settled(record, figures)
    is_settled = settled.status != "bad"
    found.append(settled)
    found.append(_places(record, figures, is_settled))
    found.append(_length(record, figures, is_settled))
    return [v for v in found if v is not None]


def _divergences(record: RunRecord, figures: RunFigures) -> Verdict | None:
    if record.diverging is None:
        return None
    share = record.diverging.mean(1)
    worst, total = float(share.max()), int(record.diverging.sum())
    of = f"{total} of {record.diverging.size:,} draws diverged"
    if record.account is None and record.temperature is None:
        if not total:
            return Verdict("divergences", "good", "No draw diverged.")
        remedy = "Raise target_accept_prob, or reparametrize the model."
        return Verdict("divergences", "bad", f"{of}.", remedy)
    if worst > BAD_SHARE:
        return Verdict(
            "divergences",
            "bad",
            f"{of}, {worst:.0%} of those of chain {int(share.argmax())}.",
            "Lower max_frequency or noise_fraction, raise subsample_size, or warm up "
            "longer; do not use these draws.",
        )
    text = f"{of} and were replaced." if total else "No draw diverged."
    return Verdict("divergences", "good", text)


def _temperature(figures: RunFigures) -> Verdict:
    """Whether the kinetic temperature is that of the target."""
    groups, chains = figures.by_group, figures.by_chain
    error, chance = groups.temperature - 1, quantile_of(len(groups) + len(chains))
    # Larger than what matters, and than what chance makes of no error at all.
    beyond = error.abs() > np.fmax(TEMPERATURE_ERROR, chance * groups.temperature_se)
    one = (chains.temperature - 1).abs() > np.fmax(
        TEMPERATURE_CHAIN, chance * chains.temperature_se
    )
    if beyond.any():
        name = error[beyond].abs().idxmax()
        row, where = groups.loc[name], _of_group(name, groups)
        return _off_target(row.temperature, row.temperature_se, where)
    if one.any():
        chain, name = (chains.temperature - 1)[one].abs().idxmax()
        row = chains.loc[(chain, name)]
        where = f"{_of_group(name, groups)} in chain {chain}"
        return _off_target(row.temperature, row.temperature_se, where)
    worst = groups.loc[error.abs().fillna(np.inf).idxmax()]
    text = (
        f"The kinetic temperature is {worst.temperature:.3f} ± "
        f"{worst.temperature_se:.3f} times the target"
    )
    text += "." if len(groups) == 1 else " in the worst group."
    certain = worst.temperature_se < UNKNOWN_TEMPERATURE
    if not certain or abs(worst.temperature - 1) > TEMPERATURE_ERROR:
        remedy = "That is too uncertain to judge: draw more."
        return Verdict("temperature", "unknown", text, remedy)
    return Verdict("temperature", "good", text)


def _off_target(value: float, se: float, where: str) -> Verdict:
    text = f"The kinetic temperature{where} is {value:.3f} ± {se:.3f} times the target"
    if value > 1:
        return Verdict(
            "temperature",
            "bad",
            f"{text}: the chain is too hot, and its posterior too wide.",
            "Lower noise_fraction or max_frequency, or warm up longer.",
        )
    return Verdict(
        "temperature",
        "bad",
        f"{text}: the chain is too cold, and its posterior too narrow.",
        "Warm up longer, so that the noise is known where the chain is, or lower "
        "noise_fraction.",
    )


def _noise(record: RunRecord, figures: RunFigures) -> Verdict:
    """Whether the minibatch noise is accounted for."""
    account = record.account
    if "noise_fraction" not in figures.by_group:
        return Verdict("noise", "unknown", "The run did not collect its noise.")
    fraction = float(figures.by_group.noise_fraction.max())
    text = f"Minibatches supply {_percent(fraction)} of the thermostat's noise"
    if figures.frozen:
        return Verdict(
            "noise",
            "bad",
            f"The estimate of the minibatch noise of {', '.join(figures.frozen)} is "
            "the same at every draw: it does not follow the chain.",
            "Raise variance_rate (its default is 0.001).",
        )
    if account is None or account.is_balanced is None:
        return Verdict("noise", "good", f"{text}.")
    if account.is_balanced:
        return Verdict(
            "noise", "good", f"{text}, and friction from the examples balances it."
        )
    if len(figures.by_group) > 1:
        return Verdict("noise", "good", f"{text} in the noisiest group.")
    compensated = fraction if account.tracks_noise[0] else 0.0
    left = max(float(np.max(account.noise_eigenvalue)) - compensated, 0.0)
    what = "correlations are" if account.tracks_noise[0] else "noise is"
    text += f". Its {what} not compensated: {_percent(left)} along the worst direction."
    if left > LEFT_OVER:
        remedy = "Lower noise_fraction, or raise subsample_size."
        return Verdict("noise", "bad", text, remedy)
    return Verdict("noise", "good", text)


def _settled(record: RunRecord, figures: RunFigures) -> Verdict:
    """Whether the warmup was long enough, by its own record and by the draws."""
    account = record.account
    problems = [] if account is None else account.problems or []
    longer = "Warm up longer (num_warmup), or discard the first draws."
    if problems:
        text = f"At the end of the warmup {'; '.join(problems)}."
        return Verdict("warmup", "bad", text, longer)
    drift, se = figures.drift
    if np.isnan(drift):
        return Verdict(
            "warmup", "unknown", "The run did not collect its potential.", ""
        )
    chance = quantile_of(1) * se
    if abs(drift) > DRIFT + chance:
        way = "falls" if drift > 0 else "rises"
        return Verdict(
            "warmup",
            "bad",
            f"The warmup has not settled: the potential still {way}, by "
            f"{abs(drift):.1f} of its standard deviations over the draws.",
            longer,
        )
    return Verdict("warmup", "good", "The warmup has settled.")


def _places(record: RunRecord, figures: RunFigures, is_settled: bool) -> Verdict:
    """Whether chains that move well by themselves are in different places."""
    num_chains, _ = record.shape
    table = figures.scalars
    if num_chains == 1:
        return Verdict(
            "chains",
            "unknown",
            "One chain cannot show whether there are other modes.",
            "Run four chains: num_chains=4, chain_method='vectorized'.",
        )
    known = table[np.isfinite(table.r_hat)]
    if known.empty:
        return Verdict("chains", "unknown", "No scalar has a finite R-hat.", "")
    apart = known[known.r_hat > _largest_rhat(known.ess_within, num_chains)]
    mixing = apart[apart.ess_within >= _least_ess(num_chains)]
    worst = known.r_hat.idxmax()
    value = f"R-hat is {known.r_hat.max():.3f} at worst ({worst})"
    if len(mixing) and is_settled:
        one = mixing.r_hat.idxmax()
        return Verdict(
            "chains",
            "bad",
            f"The chains are in different places: R-hat is {mixing.r_hat.max():.2f} "
            f"for {one}, and above {APART:g} for {len(mixing)} of {len(known)} "
            "scalars, although each chain mixes by itself.",
            "Warm up longer; if that does not help, they are in different modes and "
            "must not be averaged. Weights of a network are not identified: look at "
            "its predictions with function_rhat.",
        )
    if known.r_hat.max() > APART:
        return Verdict(
            "chains", "unknown", f"{value}, which slow or unsettled chains explain."
        )
    return Verdict("chains", "good", f"The chains agree: {value}.")


def _length(record: RunRecord, figures: RunFigures, is_settled: bool) -> Verdict:
    """Whether there are enough effective draws."""
    num_chains, _ = record.shape
    ess = figures.scalars.ess_within.dropna()
    if ess.empty:
        return Verdict("length", "unknown", "No scalar has finite draws.", "")
    least = _least_ess(num_chains)
    worst, value = ess.idxmin(), float(ess.min())
    text = (
        f"The slowest scalar ({worst}) has {value:,.0f} effective draws, the median "
        f"{ess.median():,.0f}"
    )
    if not is_settled:
        return Verdict("length", "unknown", f"{text}, unsettled ones included.")
    if value < least:
        return Verdict(
            "length",
            "bad",
            f"The run is too short: {text[0].lower()}{text[1:]}.",
            f"Draw about {np.ceil(2 * least / max(value, 1)):.0f} times as many "
            "(num_samples), or raise num_steps.",
        )
    return Verdict("length", "good", f"{text}.")


def quantile_of(num: int) -> float:
    """Standard errors that one of `num` normal numbers exceeds at the rate `CHANCE`."""
    return float(norm.isf(CHANCE / (2 * num)))


def _largest_rhat(ess: pd.Series, num_chains: int) -> Any:
    """The R-hat that halves of equal chains exceed by chance, or that matters."""
    halves = 2 * num_chains
    ratio = chi2.isf(CHANCE / len(ess), halves - 1) / (halves - 1)
    return np.sqrt(1 + np.maximum(APART**2 - 1, ratio * halves / ess))


def _least_ess(num_chains: int) -> int:
    return max(ESS_OF_CHAIN * num_chains, LEAST_ESS)


def _of_group(name: Any, groups: pd.DataFrame) -> str:
    return f" of {name}" if len(groups) > 1 else ""


def _percent(share: float) -> str:
    if 0 < share < 1e-4:
        return "less than 0.01 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
