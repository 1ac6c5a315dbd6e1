# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""`report`: whether a run is to be trusted, from everything that it left behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd

from numpyro_pl.diagnostics.data_figures import judged_with_data, measured_with_data
from numpyro_pl.diagnostics.report_text import as_html, as_text
from numpyro_pl.diagnostics.run_figures import RunFigures, measured
from numpyro_pl.diagnostics.run_record import RunRecord
from numpyro_pl.diagnostics.verdicts import Verdict, judged
from numpyro_pl.trees.checks import check_positive

__all__ = ["Report", "report"]


@dataclass(frozen=True)
class Report:
    """
    What :func:`report` found. Printed, it is a text; in a notebook, tables.

    - **verdicts** - a tuple with an answer to each question: `subject`, `status`
      (`"good"`, `"bad"` or `"unknown"`), `sentence`, `remedy`.
    - **chains** - a table with a row for each chain and group: `kinetic_temperature`
      with its Monte Carlo standard error `kinetic_se`, `target`, `noise_fraction`;
      `noise_eigenvalue` (of kernels of this package that have one group) and
      `divergences` of the chain; with `data` also `configurational_temperature` and
      `configurational_se`. Columns that the source does not have are left out.
    - **sites** - a table with a row for the potential and each site: `scalars`, the
      number of those looked at, worst and median `r_hat` and `ess`, and
      `ess_within`, the worst one without the differences between chains; with
      `data` also the configurational temperature of each latent site relative to the
      target, and skewness and excess kurtosis of its minibatch noise.
    - **scalars** - a table with a row for each scalar looked at.
    - **cost** - a dict: `draws` in all, `effective_draws` of the slowest scalar, and
      for one of these `gradients` and `seconds` (None where not known).
    - **kernel** - name of the kernel, empty where it is not known.
    - **shape** - numbers of chains and draws.
    """

    verdicts: tuple[Verdict, ...]
    chains: pd.DataFrame
    sites: pd.DataFrame
    scalars: pd.DataFrame
    cost: dict[str, float | None]
    kernel: str
    shape: tuple[int, int]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, as far as the run tells."""
        return not self.problems

    @property
    def problems(self) -> tuple[Verdict, ...]:
        """The verdicts that are bad."""
        return tuple(v for v in self.verdicts if v.status == "bad")

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)


def report(
    source: Any,
    data: tuple[tuple, dict] | None = None,
    *,
    var_names: str | Sequence[str] | None = None,
    model: Callable | None = None,
    seconds: float | None = None,
    rng_key: jax.Array | None = None,
) -> Report:
    """
    Judge a run: temperatures, minibatch noise, divergences, whether the warmup settled,
    whether the chains agree, whether they are long enough, and what a draw costs. Each
    question gets one sentence, and what to change where the answer is bad.

    Everything that is needed without `data` is collected by every run of the kernels of
    this package. Of other kernels what they collected is used; run NUTS with
    `extra_fields=("potential_energy", "num_steps")` for all of it.

    Bounds are set so that a good chain is called bad in fewer than 5 of 100 runs. A
    good report is necessary, not sufficient: it cannot see a mode that no chain has
    found.

    :param source: a NumPyro `MCMC` that has run; an ArviZ `InferenceData` or
        `xarray.DataTree`, such as :func:`~numpyro_pl.store.open_store` returns; or a
        dict by site name of arrays of shape (chain, draw, ...). Only an `MCMC` knows
        how its warmup went and what is left of the noise.
    :param data: arguments of the model, positional and by keyword, such as
        `((x, y), {})`. With them also the configurational temperature, of every site,
        is computed, how normal the minibatch noise is, and whether it is still the
        noise that the chain assumes. That costs some 800 gradients on all data.
    :param var_names: sites to look at; by default all. Of more than 2,000 scalars that
        many are looked at.
    :param model: the model, where the source does not know it.
    :param float seconds: time that the run took, for the cost of an effective draw.
    :param rng_key: key of the minibatches for `data`.
    :return: a :class:`Report`.
    :raises TypeError: if the source is no source of draws.
    :raises ValueError: if it has no draws, lacks a site of `var_names`, or `data` is
        given without a model.

    **Example**

    .. doctest::

        >>> import numpy as np
        >>> from numpyro_pl import report
        >>> rng = np.random.default_rng(0)
        >>> draws = rng.normal(size=(4, 500)) + np.array([0.0, 0.0, 0.0, 5.0])[:, None]
        >>> found = report({"w": draws})
        >>> found.ok
        False
        >>> found.problems[0].subject
        'chains'
    """
    if seconds is not None:
        check_positive("seconds", seconds)
    record = RunRecord.of(source)
    figures = measured(record, var_names)
    verdicts = judged(record, figures)
    sites, chains = _sites(figures), _chains(record, figures)
    if data is not None:
        arguments = _arguments(data)
        more = measured_with_data(record, _model_of(record, model), arguments, rng_key)
        verdicts += judged_with_data(record, more)
        sites = sites.join(more.sites)
        chains = _with_positions(record, chains, more.by_chain)
    return Report(
        verdicts=tuple(verdicts),
        chains=chains,
        sites=sites,
        scalars=figures.scalars,
        cost=_cost(record, figures, seconds),
        kernel=record.kernel,
        shape=record.shape,
    )


def _arguments(data: Any) -> tuple[tuple, dict]:
    """:raises ValueError: unless `data` is a pair of a tuple and a dict."""
    pair = isinstance(data, tuple) and len(data) == 2
    if not pair or not isinstance(data[0], tuple) or not isinstance(data[1], dict):
        raise ValueError(
            "data must be the model's positional arguments as a tuple and its keyword "
            f"arguments as a dict, such as ((x, y), {{}}), got {type(data).__name__}."
        )
    return data


def _model_of(record: RunRecord, model: Callable | None) -> Callable:
    """:raises ValueError: if neither the user nor the source knows the model."""
    if model is None and record.account is not None:
        model = record.account.model
    if model is None and record.mcmc is not None:
        model = getattr(record.mcmc.sampler, "model", None)
    if model is None:
        raise ValueError(
            "data needs the model that was sampled, which this source does not know: "
            "pass it as model=."
        )
    return model


def _chains(record: RunRecord, figures: RunFigures) -> pd.DataFrame:
    """The table of chains and groups, in the units of the target."""
    table = figures.by_chain.copy()
    if record.temperature is None:
        return figures.chains.drop(columns="potential", errors="ignore")
    target = np.tile(np.asarray(record.target), record.shape[0])
    table = table.rename(
        columns={"temperature": "kinetic_temperature", "temperature_se": "kinetic_se"}
    )
    table["kinetic_temperature"] *= target
    table["kinetic_se"] *= target
    table.insert(2, "target", target)
    chain = table.index.get_level_values("chain")
    eigenvalue = None if record.account is None else record.account.noise_eigenvalue
    if eigenvalue is not None and len(record.groups) == 1:
        table["noise_eigenvalue"] = eigenvalue[chain]
    if "divergences" in figures.chains:
        table["divergences"] = figures.chains.divergences.to_numpy()[chain]
    return table


def _with_positions(
    record: RunRecord, chains: pd.DataFrame, positions: pd.DataFrame
) -> pd.DataFrame:
    """The table of chains with configurational temperatures."""
    if record.temperature is None:
        positions = positions.droplevel("group")
    target = chains["target"] if "target" in chains else 1.0
    return chains.assign(
        configurational_temperature=positions.temperature * target,
        configurational_se=positions.temperature_se * target,
    )


def _sites(figures: RunFigures) -> pd.DataFrame:
    """Convergence by site."""
    grouped = figures.scalars.groupby("site", sort=False)
    return pd.DataFrame(
        {
            "scalars": grouped.size(),
            "r_hat_worst": grouped.r_hat.max(),
            "r_hat_median": grouped.r_hat.median(),
            "ess_worst": grouped.ess.min(),
            "ess_median": grouped.ess.median(),
            "ess_within": grouped.ess_within.min(),
        }
    )


def _cost(
    record: RunRecord, figures: RunFigures, seconds: float | None
) -> dict[str, float | None]:
    """What one effective draw of the slowest scalar costs, after warmup."""
    ess = float(figures.scalars.ess.min())
    gradients = None if record.gradients is None else float(record.gradients.sum())
    num_chains, num_draws = record.shape
    return {
        "draws": num_chains * num_draws,
        "effective_draws": ess,
        "gradients": None if gradients is None else gradients / ess,
        "seconds": None if seconds is None else seconds / ess,
    }
