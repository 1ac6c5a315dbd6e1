# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
NumPyro's handlers: a model run on chosen rows of its plates, on all of them, with given
values, or without some of its sites.

Only this module and :mod:`numpyro_pl.model.discrete_runs` touch NumPyro's handlers and
message passing; the others ask it for models and traces.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.primitives as primitives
from jax import random
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.model.indices import INDICES_KWARG, Indices, Rows
from numpyro_pl.model.marginal import MarginalModel
from numpyro_pl.model.streams import Streamed, rows_at_hand, streams_in

__all__ = [
    "IndexedModel",
    "density_model",
    "fix_sites",
    "hide_sites",
    "open_plates",
    "outside_model",
    "plate_arguments",
    "predicted",
    "seeded",
    "trace_of",
]


class _SetPlates(primitives.Messenger):
    """
    Give subsampled plates the indices in `indices`; all other subsampled plates are
    opened to their full size. `numpyro.handlers.substitute` would warn here, because it
    leaves the plate's own `subsample_size` as it is.
    """

    def __init__(self, fn=None, indices: Indices | None = None):
        self.indices = {} if indices is None else indices
        self._opened: dict[str, tuple[int, jax.Array]] = {}
        super().__init__(fn)

    def process_message(self, msg):
        if msg["type"] == "sample":
            self._scale(msg)
        if msg["type"] == "subsample" and isinstance(msg["value"], Streamed):
            self._take_rows(msg)
        if msg["type"] != "plate":
            return
        size, subsample_size = msg["args"]
        if msg["name"] in self.indices:
            indices = self._rows(msg["name"]).numbers
        elif subsample_size is not None and subsample_size != size:
            indices = jnp.arange(size)
        else:
            return
        msg["args"] = (size, indices.shape[0])
        msg["value"] = indices
        self._opened[msg["name"]] = (size, indices)

    def _take_rows(self, msg):
        """Subsample a stream: plates themselves know arrays only."""
        stream = msg["value"]
        fits = [rows for size, rows in self._opened.values() if size == len(stream)]
        event_dim = msg["kwargs"]["event_dim"]
        if len(fits) != 1 or stream.ndim - event_dim != 1:
            raise ValueError(
                f"numpyro.subsample({stream!r}, event_dim={event_dim}) does not say "
                "which rows to take: it needs one subsampled plate of that size and "
                f"event_dim={stream.ndim - 1}. Index the stream by the plate's "
                "indices instead: `with numpyro.plate(...) as ind: x[ind]`."
            )
        msg["value"] = stream[fits[0]]
        # The plate then leaves it as it is.
        msg["kwargs"] = {**msg["kwargs"], "event_dim": None}

    def _rows(self, plate: str) -> Rows:
        rows = self.indices[plate]
        return rows if isinstance(rows, Rows) else Rows(rows)

    def _scale(self, msg):
        """What the rows' log probabilities count more or less than the model says."""
        for frame in msg["cond_indep_stack"]:
            if frame.name not in self.indices:
                continue
            _, weights, size, _ = self._rows(frame.name)
            factor: Any = 1.0
            if size is not None:
                # The plate itself multiplies by the size that the model states.
                factor = size / self._opened[frame.name][0]
            if weights is not None:
                factor *= weights.reshape((-1,) + (1,) * (-frame.dim - 1))
            if size is not None or weights is not None:
                scale = msg["scale"]
                msg["scale"] = factor if scale is None else scale * factor


class _RecordPlates(primitives.Messenger):
    """Record the sizes of the plates as the model states them."""

    def __init__(self, fn=None):
        self.plates: dict[str, tuple[int, int | None]] = {}
        super().__init__(fn)

    def process_message(self, msg):
        if msg["type"] == "plate":
            self.plates[msg["name"]] = msg["args"]


def plate_arguments(
    model: Callable, args: tuple, kwargs: dict
) -> dict[str, tuple[int, int | None]]:
    """
    Run `model` once, abstractly (no arithmetic), with its plates opened, and return
    (size, subsample_size) of each plate by name, as the model states them.

    :param model: a NumPyro model.
    :param tuple args: positional arguments of the model.
    :param dict kwargs: keyword arguments of the model.
    """
    # Improper distributions cannot be sampled, only initialized.
    values = handlers.substitute(seeded(model), substitute_fn=init_to_uniform)
    # Innermost handlers see a message first: the recorder sees what the model says.
    recorder = _RecordPlates(values)
    opened = _SetPlates(recorder)

    def run():
        opened(*args, **kwargs)

    jax.eval_shape(run)
    return recorder.plates


def open_plates(model: Callable, *args, **kwargs) -> Any:
    """
    Run `model` with every subsampled plate opened to its full size.

    :param model: a NumPyro model.
    :param args: positional arguments of the model.
    :param kwargs: keyword arguments of the model.
    :return: what the model returns.
    """
    with _SetPlates():
        return model(*args, **kwargs)


class IndexedModel:
    """
    A model whose subsampled plates take their indices from the reserved keyword
    :data:`INDICES_KWARG`, a dict of row numbers by plate name. All other subsampled
    plates are opened to their full size.

    :param model: a NumPyro model.
    """

    def __init__(self, model: Callable):
        self.model = model

    def __call__(self, *args, **kwargs):
        """Run the model on the rows that the reserved keyword names."""
        indices = kwargs.pop(INDICES_KWARG, None) or {}
        read = [
            (rows.numbers, rows.read)
            for rows in indices.values()
            if isinstance(rows, Rows) and rows.read is not None
        ]
        streams = streams_in((args, kwargs)) if read else []
        with _SetPlates(indices=indices), rows_at_hand(streams, read):
            return self.model(*args, **kwargs)


def density_model(model: Callable) -> IndexedModel:
    """
    `model` as samplers see it: on the rows that the reserved keyword names, with its
    discrete latent sites summed out.

    :param model: a NumPyro model.
    """
    return IndexedModel(MarginalModel(model))


def seeded(model: Callable) -> Callable:
    """
    `model` under a fixed key, for runs whose random values are all replaced: latent
    sites by a position, `param` sites of network modules by latent values.

    :param model: a NumPyro model.
    """
    return handlers.seed(model, random.key(0))


def trace_of(
    model: Callable,
    args: tuple,
    kwargs: dict,
    data: Mapping[str, Any] | None = None,
    strategy: Callable | None = None,
) -> dict[str, dict]:
    """
    Run a model once under a fixed key and return its sites.

    :param model: a NumPyro model.
    :param tuple args: positional arguments of the model.
    :param dict kwargs: keyword arguments of the model.
    :param dict data: constrained values by site name; other sites are drawn.
    :param strategy: an initialization strategy for the sites without a value.
    :return: dict of NumPyro's site messages by name.
    """
    run = seeded(model)
    if strategy is not None:
        run = handlers.substitute(run, substitute_fn=strategy)
    if data is not None:
        run = handlers.substitute(run, data=data)
    return handlers.trace(run).get_trace(*args, **kwargs)


def predicted(
    model: Callable, values: Mapping[str, Any], rng_key, args: tuple, kwargs: dict
) -> dict[str, dict]:
    """
    Run a model with given values of some sites, and return its sites. Deterministic
    sites are computed, as in `Predictive`.

    :param model: a NumPyro model.
    :param dict values: constrained values by site name; other sites are drawn.
    :param rng_key: key for the sites that are drawn.
    :param tuple args: positional arguments of the model.
    :param dict kwargs: keyword arguments of the model.
    :return: dict of NumPyro's site messages by name.
    """

    def given(site):
        return None if site["type"] == "deterministic" else values.get(site["name"])

    run = handlers.seed(handlers.substitute(model, substitute_fn=given), rng_key)
    return handlers.trace(run).get_trace(*args, **kwargs)


def hide_sites(model: Callable, names: Iterable[str]) -> Callable:
    """
    `model` with the sites `names` hidden: they run but are not seen from outside.

    :param model: a NumPyro model.
    :param names: names of sites.
    """
    return handlers.block(model, hide=list(names))


def fix_sites(model: Callable, values: Mapping[str, Any]) -> Callable:
    """
    `model` with constants in place of some sites, which are then not seen from outside.

    :param model: a NumPyro model.
    :param dict values: constrained values by site name.
    """
    return hide_sites(handlers.substitute(model, data=values), values)


def outside_model() -> AbstractContextManager:
    """Context that hides its sites from the handlers of a running model."""
    return handlers.block()
