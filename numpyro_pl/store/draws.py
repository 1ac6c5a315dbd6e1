# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Draws of a posterior, some of them at a time, from memory or from a store."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.draws import draws_of_mcmc, is_xarray, posterior_dataset
from numpyro_pl.store.reading import stored_tree

__all__ = ["DrawBlocks"]


class DrawBlocks:
    """
    Draws of a posterior in blocks.

    :param posterior: an `MCMC` that has run, an ArviZ `InferenceData` or `DataTree`, an
        `xarray.Dataset`, the path of a store, or a dict of arrays (draw, ...) by site.
    :raises TypeError: for anything else.
    :raises ValueError: if there are no draws, or sites differ in their number.
    """

    def __init__(self, posterior: Any):
        if isinstance(posterior, str | Path):
            posterior = stored_tree(posterior)
        if hasattr(posterior, "get_samples"):
            grouped = draws_of_mcmc(posterior, "posterior")
        elif is_xarray(posterior):
            dataset = posterior_dataset(posterior, "posterior")
            grouped = {
                variable.attrs.get("site", str(name)): variable.transpose(
                    "chain", "draw", ...
                )
                for name, variable in dataset.data_vars.items()
            }
        elif isinstance(posterior, Mapping):
            grouped = {name: np.asarray(x)[None] for name, x in posterior.items()}
        else:
            raise TypeError(
                f"the posterior is a {type(posterior).__name__}. Pass a dict of draws "
                "(draw, ...) by site, an MCMC that has run, an ArviZ InferenceData or "
                "DataTree, or the path of a store."
            )
        self._sites = grouped
        shapes = {name: tuple(x.shape[:2]) for name, x in grouped.items()}
        if len(set(shapes.values())) != 1 or 0 in next(iter(shapes.values()), ()):
            raise ValueError(
                "every site of the posterior must have the same number of draws, one "
                f"or more; their (chain, draw) are {shapes}."
            )
        self.num_chains, self.num_draws = next(iter(shapes.values()))

    @property
    def names(self) -> list[str]:
        """Names of the sites."""
        return list(self._sites)

    def first(self) -> dict[str, np.ndarray]:
        """The first draw of each site."""
        return {name: np.asarray(x[0, 0]) for name, x in self._sites.items()}

    def count(self, size: int) -> int:
        """Number of blocks of at most `size` draws, but at least one of each chain."""
        return -(-self.num_draws // self._length(size))

    def _length(self, size: int) -> int:
        return max(1, min(size // self.num_chains, self.num_draws))

    def blocks(self, size: int, names: list[str]) -> Iterator[tuple[np.ndarray, dict]]:
        """
        The draws of some sites, in blocks of one length: numbers of the draws, chain
        after chain, and their values. The last block is filled with the last draw,
        whose number is then -1.

        A block has draws of all chains, as the chunks of a store have.

        :param int size: most draws in a block.
        :param names: names of the sites.
        """
        length = self._length(size)
        for start in range(0, self.num_draws, length):
            draw = start + np.arange(length)
            number = np.arange(self.num_chains)[:, None] * self.num_draws + draw
            number = np.where(draw < self.num_draws, number, -1)
            values = {}
            for name in names:
                x = np.asarray(self._sites[name][:, start : start + length])
                missing = length - x.shape[1]
                if missing:
                    x = np.concatenate([x, np.repeat(x[:, -1:], missing, 1)], 1)
                values[name] = x.reshape(-1, *x.shape[2:])
            yield number.reshape(-1), values
