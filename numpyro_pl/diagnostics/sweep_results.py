# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What a sweep over temperatures returns, and what it warns of."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.batch_means import Average
from numpyro_pl.diagnostics.convergence import rank_rhat

__all__ = ["OF_EVERY_SWEEP", "as_dataset", "warn_of_temperatures"]

OF_EVERY_SWEEP = ("potential_energy", "kinetic_temperature", "noise_fraction")
"""Fields of the state that are averaged besides the metrics."""

LARGEST_RHAT, BAD_SHARE, TEMPERATURE_ERROR = 1.1, 0.03, 0.05
"""Bounds on the R-hat of the potential, on the share of diverged draws, and on the
relative error of the kinetic temperature, beyond which a temperature is warned of."""


def as_dataset(
    temperatures: Sequence[float],
    averages: Mapping[str, Average],
    energies: np.ndarray,
    divergences: np.ndarray,
) -> Any:
    """
    The `xarray.Dataset` of a sweep.

    :param temperatures: the temperatures.
    :param averages: averages of shape (temperature, ...) by name.
    :param energies: potential energies of shape (draw, temperature, chain).
    :param divergences: their numbers, of shape (temperature, chain).
    """
    # Late: ArviZ brings it, and nothing else in this room needs it.
    import xarray as xr

    variables: dict[str, Any] = {}
    for name, average in averages.items():
        own = "group" if name in OF_EVERY_SWEEP else f"{name}_dim_"
        extra = [own] if own == "group" else [f"{own}{i}" for i in range(9)]
        dims = ["temperature", *extra][: average.mean.ndim]
        variables[name] = (dims, average.mean)
        variables[f"{name}_se"] = (dims, average.standard_error)
    by_temperature = np.moveaxis(energies, 1, 0)
    r_hat = [rank_rhat(e.T[..., None])[0] for e in by_temperature]
    variables["divergences"] = ("temperature", divergences.sum(-1))
    variables["r_hat"] = ("temperature", np.array(r_hat))
    num_draws, _, num_chains = energies.shape
    return xr.Dataset(
        variables,
        coords={"temperature": np.array(temperatures)},
        attrs={"num_samples": num_draws, "num_chains": num_chains},
    )


def warn_of_temperatures(found: Any, num_draws: int) -> None:
    """
    One warning for all temperatures whose averages are not to be trusted.

    :param found: the dataset of a sweep.
    :param int num_draws: draws of all chains of a temperature.
    """
    kinetic, error = (
        found[name].to_numpy().reshape(len(found.temperature), -1)
        for name in ("kinetic_temperature", "kinetic_temperature_se")
    )
    problems = []
    for i, t in enumerate(found.temperature.to_numpy()):
        reasons = []
        if found.r_hat[i] > LARGEST_RHAT:
            reasons.append(f"R-hat {float(found.r_hat[i]):.2f}")
        if found.divergences[i] > BAD_SHARE * num_draws:
            reasons.append(f"{int(found.divergences[i])} diverged draws")
        if np.any(abs(kinetic[i] - t) > TEMPERATURE_ERROR * t + 4 * error[i]):
            reasons.append(f"kinetic temperature {kinetic[i].max():.3g}")
        if reasons:
            problems.append(f"T = {t:g} ({', '.join(reasons)})")
    if problems:
        warnings.warn(
            "Averages at some temperatures of the sweep are not to be trusted: "
            f"{'; '.join(problems)}. Warm up longer and draw more; if draws diverge or "
            "are too hot, lower max_frequency or noise_fraction.",
            UserWarning,
            stacklevel=3,
        )
