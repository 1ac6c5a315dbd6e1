# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The configurational temperature: whether positions, not momenta, have the temperature of
the target, site by site.

For a position x with density `exp(-U / T)` on all of space, and any fixed c,
`E[(x_i - c_i) dU/dx_i] = T` for every coordinate (integrate by parts). Unlike the
kinetic temperature it needs the model and its data: a gradient on all of them for each
draw that is looked at.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from numpyro_pl.diagnostics.convergence import MIN_DRAWS, summarize_chains
from numpyro_pl.diagnostics.draws import posterior_draws
from numpyro_pl.model.arguments import ArgumentPrograms
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import Data, MinibatchPotential
from numpyro_pl.model.sites import inspect_sites
from numpyro_pl.trees.arithmetic import row
from numpyro_pl.trees.checks import check_integer

__all__ = ["Positions", "configurational_temperature", "site_virials", "with_errors"]

MOST_DRAWS = 400
"""Draws of all chains that are looked at by default."""

BLOCK = 1 << 22
"""Numbers in a block of draws: 16 MiB in single precision."""


def configurational_temperature(
    source: Any, model: Callable, *args: Any, num_draws: int = MOST_DRAWS, **kwargs: Any
) -> pd.DataFrame:
    """
    Configurational temperature of each latent site: the mean over its coordinates and
    over draws of `(x - c) dU/dx`, whose expectation is the temperature of the target, 1
    for a posterior. x are unconstrained values and U is the potential on all data. The
    center c is the mean of the other half of the draws, which makes it independent of
    them.

    Where it is above the target, the posterior of the site is too wide, where it is
    below, too narrow. Minibatch noise that is correlated between coordinates shows here
    and not in the kinetic temperature.

    :param source: a NumPyro `MCMC` that has run, of any kernel; an ArviZ
        `InferenceData` or `DataTree`; or a dict by site name of arrays of shape (chain,
        draw, ...).
    :param model: the NumPyro model.
    :param args: positional arguments of the model.
    :param int num_draws: most draws of all chains that are looked at, evenly spaced.
        Each costs a gradient on all of the data.
    :param kwargs: keyword arguments of the model.
    :return: a table with a row for each site and the columns `temperature`, its Monte
        Carlo standard error `temperature_se`, and `coordinates`, the number of these.
    :raises TypeError: if `source` is no source of draws.
    :raises ValueError: if there are too few draws, or a latent site is missing in them.

    **References:**

    1. *Dynamical approach to temperature*, H. H. Rugh (1997), Physical Review Letters
       78, 772.
    """
    positions = Positions(posterior_draws(source, "source"), model, (args, kwargs))
    virials = site_virials(positions, num_draws)
    return pd.DataFrame(
        {
            site: (*with_errors(value / positions.sizes[site]), positions.sizes[site])
            for site, value in virials.items()
        },
        index=["temperature", "temperature_se", "coordinates"],
    ).T.astype({"coordinates": int})


class Positions:
    """
    The draws of a model as unconstrained positions.

    - **sizes** - number of unconstrained coordinates of each latent site.

    :param draws: constrained values of shape (chain, draw, ...) by site.
    :param model: the NumPyro model.
    :param Data data: its arguments.
    :raises ValueError: if a latent site is missing in the draws.
    """

    def __init__(self, draws: Mapping[str, Any], model: Callable, data: Data):
        args, kwargs = data
        plates = PlateSizes.of(model, *args, **kwargs)
        latent = inspect_sites(model, plates, args, kwargs).latent or ()
        missing = [site for site in latent if site not in draws]
        if missing:
            raise ValueError(
                f"the draws lack the latent sites {missing}, without which the "
                "potential is not known: sample without collect=, or give the model "
                "that was sampled."
            )
        self.draws = {site: draws[site] for site in latent}
        self.potential = MinibatchPotential(model, plates)
        self._programs = ArgumentPrograms()
        self._data = self._programs.prepare(args, kwargs)
        self.shape = next(iter(self.draws.values())).shape[:2]
        self.sizes = {site: int(np.size(x)) for site, x in self.at(0, -1).items()}

    def at(self, chain: int, draw: int) -> dict[str, np.ndarray]:
        """The unconstrained values of one draw."""
        (found,) = (x for _, x in self.each([chain], [draw]))
        return {site: x[0] for site, x in found.items()}

    def each(self, chains: Any, draws: Any) -> Iterator[tuple[slice, dict]]:
        """
        Unconstrained values of some draws, a block of them at a time.

        :param chains: numbers of their chains.
        :param draws: their numbers within these.
        """

        def unconstrain(data, values):
            return lax.map(self.potential.unconstrain_fn(data), values)

        for part, values in self._blocks(chains, draws):
            found = self._programs.call("unconstrain", unconstrain, self._data, values)
            length = part.stop - part.start
            yield part, {k: np.asarray(x)[:length] for k, x in found.items()}

    def virials(self, chains: Any, draws: Any, which: Any, centers: list) -> dict:
        """
        Sums over the coordinates of each site of `(x - center) dU/dx`.

        :param chains: numbers of the chains of some draws.
        :param draws: their numbers within these.
        :param which: number of the center for each of them.
        :param centers: positions.
        :return: arrays of shape (draws,) by site.
        """

        def virials(data, values, which, centers):
            unconstrain = self.potential.unconstrain_fn(data)

            def one(inputs):
                values, number = inputs
                x, center = unconstrain(values), row(centers, number)
                _, slope = self.potential.full_value_and_grad(x, *data)
                return jax.tree.map(
                    lambda a, c, g: jnp.sum((a - c) * g), x, center, slope
                )

            return lax.map(one, (values, which))

        stacked = jax.tree.map(lambda *x: jnp.stack(x), *centers)
        found = {site: np.empty(len(draws)) for site in self.sizes}
        for part, values in self._blocks(chains, draws):
            length = part.stop - part.start
            one = next(iter(values.values()))
            numbers = np.resize(which[part], len(one))
            block = self._programs.call(
                "virials", virials, self._data, values, numbers, stacked
            )
            for site, value in block.items():
                found[site][part] = value[:length]
        return found

    def _blocks(self, chains: Any, draws: Any) -> Iterator[tuple[slice, dict]]:
        """Draws in blocks of one length, the last filled up by repeating it."""
        chains, draws = np.asarray(chains), np.asarray(draws)
        size = sum(int(np.prod(x.shape[2:])) for x in self.draws.values())
        length = max(1, min(len(draws), BLOCK // max(size, 1)))
        for start in range(0, len(draws), length):
            part = slice(start, min(start + length, len(draws)))
            c, d = np.resize(chains[part], length), np.resize(draws[part], length)
            yield part, {site: x[c, d] for site, x in self.draws.items()}


def site_virials(positions: Positions, num_draws: int) -> dict[str, np.ndarray]:
    """
    The sums of `(x - c) dU/dx` over the coordinates of each site.

    :param Positions positions: the draws.
    :param int num_draws: most draws of all chains.
    :return: arrays of shape (chain, draws looked at) by site.
    :raises ValueError: if there are fewer than four draws for each half of a chain.
    """
    check_integer("num_draws", num_draws)
    num_chains, total = positions.shape
    num = max(min(num_draws // num_chains, total), 2 * MIN_DRAWS)
    if total < num:
        raise ValueError(
            f"the chains have {total} draws, and at least {num} are needed: draw more."
        )
    chosen = np.linspace(0, total - 1, num).round().astype(int)
    chains, draws = np.repeat(np.arange(num_chains), num), np.tile(chosen, num_chains)
    half = np.tile(np.arange(num) >= num // 2, num_chains).astype(int)
    sums: list[Any] = [dict.fromkeys(positions.sizes, 0.0) for _ in range(2)]
    for part, x in positions.each(chains, draws):
        for k in range(2):
            for site, value in x.items():
                sums[k][site] = sums[k][site] + value[half[part] == k].sum(0)
    means = [
        {site: value / (half == k).sum() for site, value in sums[k].items()}
        for k in range(2)
    ]
    # The center of one half of the draws is the mean of the other.
    found = positions.virials(chains, draws, 1 - half, means)
    return {site: x.reshape(num_chains, num) for site, x in found.items()}


def with_errors(values: np.ndarray) -> tuple[float, float]:
    """Mean and Monte Carlo standard error of values of shape (chain, draw)."""
    summary = summarize_chains(values[..., None])
    return float(summary.mean[0]), float(summary.mcse_mean[0])
