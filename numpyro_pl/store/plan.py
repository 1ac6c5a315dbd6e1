# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What a posterior is to predict: the sites of a model, and the checks of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import random

from numpyro_pl.model.handlers import predicted
from numpyro_pl.model.potential import Data
from numpyro_pl.model.rows import RowBatches
from numpyro_pl.store.draws import DrawBlocks

__all__ = ["PredictionPlan", "planned"]

WRAPPERS = (dist.ExpandedDistribution, dist.Independent, dist.MaskedDistribution)
BERNOULLI = (dist.BernoulliProbs, dist.BernoulliLogits)
CATEGORICAL = (dist.CategoricalProbs, dist.CategoricalLogits)


class _Site(NamedTuple):
    """
    A site of a model that runs with draws of a posterior.

    - **kind** - "sample", "param" or "deterministic".
    - **open** - whether it is a sample site without data.
    - **given** - whether the posterior has values of it.
    - **of_rows** - whether it is inside a plate of the rows.
    - **shape**, **expected** - shapes of its value and of its distribution.
    """

    kind: str
    open: bool
    given: bool
    of_rows: bool
    shape: tuple[int, ...]
    expected: tuple[int, ...]

    @property
    def drawn(self) -> bool:
        """Whether its value is drawn from its distribution."""
        return self.open and not self.given


class PredictionPlan(NamedTuple):
    """
    What to predict, and from what.

    - **rows** - the batches of rows.
    - **row_axes** - by site to predict, the axis of its rows; None for a site without
      rows, and where all rows are in one batch.
    - **given** - names of the sites that take values of the posterior.
    - **rng_key** - key for random sites.
    """

    rows: RowBatches
    row_axes: dict[str, int | None]
    given: list[str]
    rng_key: jax.Array

    def run(self, data: Data, values: dict, index: jax.Array, number: Any) -> dict:
        """
        Values and class probabilities of each site, for each draw of a block.

        :param data: a batch of rows.
        :param values: draws of the sites that are given.
        :param index: numbers of the draws.
        :param number: number of the batch of rows.
        """

        def one(values, draw):
            key = random.fold_in(random.fold_in(self.rng_key, draw), number)
            trace = predicted(self.rows.model, values, key, *data)
            return {n: (trace[n]["value"], _classes(trace[n])) for n in self.row_axes}

        return jax.vmap(one)(values, index)


def planned(
    rows: RowBatches,
    draws: DrawBlocks,
    sites: Sequence[str] | str | None,
    rng_key: jax.Array | None,
) -> PredictionPlan:
    """
    What to predict, found without arithmetic.

    :param RowBatches rows: the model and its rows.
    :param DrawBlocks draws: the posterior.
    :param sites: names of the sites to predict, None for the usual ones.
    :param rng_key: key for random sites, if any.
    :raises ValueError: see :func:`~numpyro_pl.store.predict`.
    """
    first = draws.first()
    try:
        whole = _sites_of(rows, first, rows.data)
    except (ValueError, TypeError) as error:
        shapes = ", ".join(f"'{n}' {x.shape}" for n, x in first.items())
        raise ValueError(
            f"the model cannot be run with these draws and arguments: {error} A draw "
            f"has the shapes {shapes}; draws in a dict need the shape (draw, ...)."
        ) from error
    names = [sites] if isinstance(sites, str) else sites
    if names is None:
        names = [
            name
            for name, site in whole.items()
            if site.kind == "deterministic" or (site.drawn and site.of_rows)
        ]
    _check_sites(list(names), whole)
    drawn = [name for name, site in whole.items() if site.drawn]
    if drawn and rng_key is None:
        raise ValueError(
            f"site '{drawn[0]}' is random: pass rng_key, a PRNG key such as "
            "jax.random.key(0)."
        )
    row_axes: dict[str, int | None] = dict.fromkeys(names)
    if len(rows) > 1:
        part = _sites_of_part(rows, first)
        for name in names:
            row_axes[name] = _row_axis(name, whole[name].shape, part[name].shape)
    given = [name for name in draws.names if name in whole and whole[name].given]
    key = random.key(0) if rng_key is None else rng_key
    return PredictionPlan(rows, row_axes, given, key)


def _sites_of(rows: RowBatches, values: dict, data: Data) -> dict[str, _Site]:
    """The sites of a model on some of its rows."""
    found: dict[str, _Site] = {}

    def run():
        trace = predicted(rows.model, values, random.key(0), *data)
        for name, site in trace.items():
            if site["type"] not in ("sample", "param", "deterministic"):
                continue
            sample = site["type"] == "sample"
            value = 0.0 if site["type"] == "param" else site["value"]
            plates = [frame.name for frame in site.get("cond_indep_stack", ())]
            found[name] = _Site(
                kind=site["type"],
                open=sample and not site["is_observed"],
                given=name in values and site["type"] != "deterministic",
                of_rows=any(plate in rows.plates for plate in plates),
                shape=jnp.shape(value),
                expected=tuple(site["fn"].shape()) if sample else jnp.shape(value),
            )

    jax.eval_shape(run)
    return found


def _sites_of_part(rows: RowBatches, values: dict) -> dict[str, _Site]:
    try:
        return _sites_of(rows, values, rows.data_of(0))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"the model cannot be run on {rows.batch} of its {rows.size} rows: {error} "
            "Let its plate take its size from the data (x.shape[0]), or pass "
            "batch_size=None for all rows at once."
        ) from error


def _row_axis(name: str, whole: tuple, part: tuple) -> int | None:
    """The axis of a site's value along which its rows are."""
    if len(whole) == len(part):
        axes = [i for i, (a, b) in enumerate(zip(whole, part, strict=True)) if a != b]
        if len(axes) < 2:
            return axes[0] if axes else None
    raise ValueError(
        f"site '{name}' has shape {whole} for all rows and {part} for a batch of them: "
        "it cannot be put together from batches. Pass batch_size=None, or leave it out "
        "of sites."
    )


def _check_sites(names: list[str], sites: dict[str, _Site]) -> None:
    unknown = [name for name in names if name not in sites]
    if unknown:
        raise ValueError(
            f"the model has no site '{unknown[0]}'. Its sites are "
            f"{', '.join(map(repr, sites))}."
        )
    for name, site in sites.items():
        if site.given and site.shape != site.expected:
            raise ValueError(
                f"the draws of '{name}' have shape {site.shape}, but in the model the "
                f"site has shape {site.expected}. Are they of this model? Draws in a "
                "dict need the shape (draw, ...)."
            )
        if site.drawn and not (site.of_rows or name in names):
            raise ValueError(
                f"the posterior has no draws of site '{name}', which would be drawn "
                "from its prior. Keep the site (the kernel's collect may leave it "
                f"out), or, if this is what you want, name it: sites=['{name}', ...]."
            )
    if not names:
        raise ValueError(
            "there is nothing to predict: every random site of the rows has values. "
            "Pass None in place of the data to predict (y=None), or name sites."
        )


def _classes(site: dict) -> jax.Array | None:
    """Probabilities of the classes of a categorical site, along a last axis."""
    fn = site.get("fn") if site["type"] == "sample" else None
    while isinstance(fn, WRAPPERS):
        fn = fn.base_dist
    if isinstance(fn, BERNOULLI):
        probs = jnp.stack([1 - fn.probs, fn.probs], axis=-1)
    elif isinstance(fn, CATEGORICAL):
        probs = fn.probs
    else:
        return None
    return jnp.broadcast_to(probs, (*jnp.shape(site["value"]), probs.shape[-1]))
