# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A finished run as `report` reads it: draws, fields of the sampler, its account."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from numpyro_pl.diagnostics.draws import (
    is_xarray,
    posterior_dataset,
    posterior_draws,
    scalar_names,
)

__all__ = ["RunRecord", "scalars_of", "sites_of_interest"]

MOST_SCALARS = 2000
"""Scalars that are looked at, evenly spread over those of the sites that are asked for:
a network may have millions."""


class RunRecord(NamedTuple):
    """
    A finished run. Fields that it did not collect are None.

    - **draws** - arrays of shape (chain, draw, ...) by site.
    - **potential** - in nats, of shape (chain, draw).
    - **diverging** - of shape (chain, draw).
    - **temperature** - kinetic temperature relative to the target, of shape (chain,
      draw, group).
    - **target** - temperature of the target, by group.
    - **noise_fraction** - of shape (chain, draw, group).
    - **gradients** - gradients of each draw, of shape (chain, draw).
    - **account** - what a kernel of this package says of itself.
    - **kernel** - name of the kernel, empty where it is not known.
    - **mcmc** - the `MCMC`, where the source is one.
    """

    draws: dict[str, np.ndarray]
    potential: np.ndarray | None = None
    diverging: np.ndarray | None = None
    temperature: np.ndarray | None = None
    target: np.ndarray | None = None
    noise_fraction: np.ndarray | None = None
    gradients: np.ndarray | None = None
    account: Any = None
    kernel: str = ""
    mcmc: Any = None

    @classmethod
    def of(cls, source: Any) -> "RunRecord":
        """
        Read a run.

        :param source: see :func:`~numpyro_pl.diagnostics.report`.
        :raises TypeError: if it is no source of draws.
        :raises ValueError: if there are no draws.
        """
        draws = posterior_draws(source, "source")
        if hasattr(source, "get_extra_fields"):
            return _of_mcmc(source, draws)
        if is_xarray(source):
            return _of_xarray(source, draws)
        return cls(draws)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of chains and of draws."""
        return next(iter(self.draws.values())).shape[:2]

    @property
    def groups(self) -> list[str]:
        """Names of the groups of parameters."""
        if self.temperature is None:
            return []
        num = self.temperature.shape[-1]
        names = [] if self.account is None else self.account.groups
        if len(names) == num:
            return list(names)
        return ["all parameters"] if num == 1 else [f"group {i}" for i in range(num)]


def _of_mcmc(mcmc: Any, draws: dict[str, np.ndarray]) -> RunRecord:
    fields = {
        name: np.asarray(value)
        for name, value in mcmc.get_extra_fields(group_by_chain=True).items()
        if not isinstance(value, Mapping | tuple)
    }
    kernel = mcmc.sampler
    account = kernel.account(mcmc.last_state) if hasattr(kernel, "account") else None
    record = _of_fields(draws, fields)
    if record.gradients is None and account is not None:
        record = record._replace(
            gradients=np.full(record.shape, account.num_steps * mcmc.thinning)
        )
    name = "" if kernel is None else type(kernel).__name__
    return record._replace(account=account, kernel=name, mcmc=mcmc)


def _of_xarray(source: Any, draws: dict[str, np.ndarray]) -> RunRecord:
    if hasattr(source, "_groups"):  # InferenceData
        stats = source["sample_stats"] if "sample_stats" in source.groups() else None
    else:
        stats = dict(getattr(source, "children", {})).get("sample_stats")
    fields = {}
    for name, value in () if stats is None else stats.data_vars.items():
        if {"chain", "draw"} <= set(value.dims):
            fields[str(name)] = value.transpose("chain", "draw", ...).to_numpy()
    if "lp" in fields:
        fields["potential_energy"] = -fields.pop("lp")
    if "n_steps" in fields:
        fields["num_steps"] = fields.pop("n_steps")
    # A store writes a dot for a slash, and keeps the name of the site.
    dataset = posterior_dataset(source, "source")
    sites = {
        str(name): value.attrs.get("site", str(name))
        for name, value in dataset.data_vars.items()
    }
    return _of_fields({sites[name]: x for name, x in draws.items()}, fields)


def _of_fields(draws: dict, fields: Mapping[str, np.ndarray]) -> RunRecord:
    """The record of draws and fields of states, arrays of shape (chain, draw, ...)."""

    def by_group(name):
        value = fields.get(name)
        if value is None or not np.issubdtype(value.dtype, np.floating):
            return None
        return np.asarray(value.reshape(*value.shape[:2], -1), np.float64)

    kinetic, target = by_group("kinetic_temperature"), by_group("temperature")
    if kinetic is not None:
        target = np.ones(kinetic.shape[-1]) if target is None else target[0, -1]
        kinetic = kinetic / target
    potential, diverging = fields.get("potential_energy"), fields.get("diverging")
    return RunRecord(
        draws,
        potential=None if potential is None else np.asarray(potential, np.float64),
        diverging=None if diverging is None else np.asarray(diverging, bool),
        temperature=kinetic,
        target=target if kinetic is not None else None,
        noise_fraction=by_group("noise_fraction"),
        gradients=fields.get("num_steps"),
    )


def sites_of_interest(
    draws: Mapping[str, np.ndarray], var_names: str | Sequence[str] | None
) -> list[str]:
    """
    The sites that are asked for, all by default.

    :raises ValueError: for a site that the draws do not have.
    """
    if var_names is None:
        return list(draws)
    sites = [var_names] if isinstance(var_names, str) else list(var_names)
    missing = [site for site in sites if site not in draws]
    if missing or not sites:
        raise ValueError(
            f"var_names has {missing}, which the draws do not: their sites are "
            f"{sorted(draws)}."
        )
    return sites


def scalars_of(
    draws: Mapping[str, np.ndarray], sites: Sequence[str]
) -> tuple[list[str], list[str], np.ndarray]:
    """
    Scalars of some sites, side by side: the site of each, their names, and an array of
    shape (chain, draw, scalars).
    """
    total = sum(int(np.prod(draws[site].shape[2:])) for site in sites)
    every = max(1, -(-total // MOST_SCALARS))
    of_site, names, columns = [], [], []
    for site in sites:
        shape = draws[site].shape
        flat = draws[site].reshape(*shape[:2], -1)[..., ::every]
        chosen = range(0, int(np.prod(shape[2:])), every)
        known = scalar_names(site, shape[2:])
        names += [known[i] for i in chosen]
        of_site += [site] * len(chosen)
        columns.append(flat.astype(np.float64))
    return of_site, names, np.concatenate(columns, axis=-1)
