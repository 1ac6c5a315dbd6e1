# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Posterior predictions in bounded memory, streamed over draws and over data."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm.auto import tqdm

from numpyro_pl.model.arguments import ArgumentPrograms
from numpyro_pl.model.rows import RowBatches
from numpyro_pl.store.draws import DrawBlocks
from numpyro_pl.store.plan import planned
from numpyro_pl.trees.checks import check_integer

__all__ = ["Prediction", "predict"]


class Prediction(NamedTuple):
    """
    What the posterior predicts for a site.

    - **mean** - mean over the draws, of the shape of the site on all rows.
    - **sd** - standard deviation over the draws.
    - **quantiles** - quantiles over the draws, along a first axis; None if not asked
      for.
    - **probabilities** - posterior predictive probabilities of the classes, along a
      last axis, for a categorical or Bernoulli site (of 0 and 1); None for others.
    """

    mean: np.ndarray
    sd: np.ndarray
    quantiles: np.ndarray | None
    probabilities: np.ndarray | None


def predict(
    model: Callable,
    posterior: Any,
    *args: Any,
    rng_key: jax.Array | None = None,
    batch_size: int | None = 512,
    draws_batch: int = 32,
    quantiles: Sequence[float] = (),
    sites: Sequence[str] | None = None,
    **kwargs: Any,
) -> dict[str, Prediction]:
    """
    Posterior predictive means, standard deviations, quantiles and class probabilities,
    over all draws and all rows of the data. `Predictive` holds all draws of all
    predictions; here memory holds `draws_batch` draws and their predictions for
    `batch_size` rows and, for quantiles, which are exact, the predictions of all draws
    for those rows. A posterior on disk is read once for each batch of rows.

    The prediction for a row must not depend on other rows. Values of random sites are
    drawn with keys of their own for each draw and batch of rows: they depend on
    `batch_size`, but not on `draws_batch`.

    **Example**

    .. doctest::

        >>> import jax, jax.numpy as jnp
        >>> import numpyro, numpyro.distributions as dist
        >>> from numpyro_pl import predict
        >>> def model(x, y=None):
        ...     w = numpyro.sample("w", dist.Normal(0, 1))
        ...     with numpyro.plate("data", x.shape[0], subsample_size=10):
        ...         xb = numpyro.subsample(x, event_dim=0)
        ...         yb = None if y is None else numpyro.subsample(y, event_dim=0)
        ...         numpyro.sample("y", dist.Bernoulli(logits=w * xb), obs=yb)
        >>> draws = {"w": jnp.linspace(0.5, 1.5, 100)}
        >>> x = jnp.linspace(-1.0, 1.0, 1000)
        >>> found = predict(model, draws, x, rng_key=jax.random.key(0), batch_size=100)
        >>> found["y"].probabilities.shape
        (1000, 2)

    :param model: the NumPyro model, as it was sampled.
    :param posterior: a dict of draws by site (as `mcmc.get_samples()`), an `MCMC` that
        has run, an ArviZ `InferenceData` or `DataTree`, or the path of a store of
        :func:`sample_to_store`.
    :param args: positional arguments of the model, without what it is to predict.
    :param rng_key: key for random sites; not needed if all are deterministic.
    :param batch_size: most rows evaluated at once, of the model's subsampled plate or,
        where none is subsampled, of the arguments as long as its largest plate. None:
        all rows.
    :param int draws_batch: draws evaluated at once, at least one of each chain.
    :param quantiles: quantiles to compute, between 0 and 1.
    :param sites: names of the sites to predict. None: random sites of the rows that are
        not in the posterior, and deterministic sites.
    :param kwargs: keyword arguments of the model.
    :return: a :class:`Prediction` by site.
    :raises ValueError: for a latent site without draws, which would be drawn from its
        prior; a site that the model does not have; nothing to predict; a missing key;
        a model that cannot be run on a part of its rows.
    :raises TypeError: for a posterior of another kind.
    """
    check_integer("draws_batch", draws_batch)
    if batch_size is not None:
        check_integer("batch_size", batch_size)
    if not all(0 <= q <= 1 for q in quantiles):
        raise ValueError(f"quantiles must be between 0 and 1, got {quantiles!r}.")
    draws = DrawBlocks(posterior)
    rows = RowBatches(model, (args, kwargs), batch_size)
    plan = planned(rows, draws, sites, rng_key)
    programs, blocks = ArgumentPrograms(), draws.count(draws_batch)
    found: dict[str, list[Prediction]] = {name: [] for name in plan.row_axes}
    with tqdm(total=len(rows) * blocks, desc="predict", disable=None) as bar:
        for number, (chosen, data) in enumerate(rows):
            totals = {name: _Total(quantiles) for name in plan.row_axes}
            for index, values in draws.blocks(draws_batch, plan.given):
                out = programs.call("predict", plan.run, data, values, index, number)
                for name, total in totals.items():
                    total.add(index >= 0, *out[name])
                bar.update()
            for name, total in totals.items():
                axis = plan.row_axes[name]
                found[name].append(total.result(axis, chosen.stop - chosen.start))
    return {n: _joined(n, parts, plan.row_axes[n]) for n, parts in found.items()}


class _Total:
    """Running moments of a site, and its values where quantiles are wanted."""

    def __init__(self, quantiles: Sequence[float]):
        self.quantiles = np.asarray(quantiles, float)
        self.num = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.classes: Any = None
        self.values: list[np.ndarray] = []

    def add(self, valid: np.ndarray, values: Any, classes: Any) -> None:
        """Count a block of draws, those that are valid."""
        x = np.asarray(values)[valid]
        if self.quantiles.size:
            self.values.append(x)
        mean = x.mean(0, dtype=np.float64)
        change, new = mean - self.mean, self.num + len(x)
        # The moments of two parts of the draws together.
        self.squares = self.squares + np.sum((x - mean) ** 2, axis=0)
        self.squares = self.squares + change**2 * (self.num * len(x) / new)
        self.mean = self.mean + change * (len(x) / new)
        self.num = new
        if classes is not None:
            part = np.asarray(classes)[valid].sum(0, dtype=np.float64)
            self.classes = part if self.classes is None else self.classes + part

    def result(self, axis: int | None, length: int) -> "Prediction":
        """The prediction for the first `length` rows along an axis."""

        def cut(x, before=0):
            if axis is None:
                return np.asarray(x)
            return x[(slice(None),) * (axis + before) + (slice(length),)]

        levels = None
        if self.quantiles.size:
            values = np.concatenate(self.values)
            levels = cut(np.quantile(values, self.quantiles, axis=0), 1)
        sd = np.sqrt(self.squares / self.num)
        classes = None if self.classes is None else cut(self.classes / self.num)
        return Prediction(cut(self.mean), cut(sd), levels, classes)


def _joined(name: str, parts: list[Prediction], axis: int | None) -> Prediction:
    """
    The prediction for all rows.

    :raises ValueError: if a site without rows is not the same for every batch.
    """
    if axis is None:
        for part in parts:
            if not np.allclose(part.mean, parts[0].mean, rtol=1e-3, equal_nan=True):
                raise ValueError(
                    f"site '{name}' depends on all rows together: pass "
                    "batch_size=None, or leave it out of sites."
                )
        return parts[0]

    def join(values, along):
        return None if values[0] is None else np.concatenate(values, along)

    mean, sd, levels, classes = zip(*parts, strict=True)
    return Prediction(
        np.concatenate(mean, axis),
        np.concatenate(sd, axis),
        join(levels, axis + 1),
        join(classes, axis),
    )
