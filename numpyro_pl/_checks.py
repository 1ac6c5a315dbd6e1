# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Checks made before sampling starts: each error names the mistake and the remedy."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.initialization import init_to_sample

from numpyro_pl._dataflow import trace_indices
from numpyro_pl._handlers import INDICES_KWARG, IndexedModel, PlateSizes, trace_of

__all__ = [
    "ModelSites",
    "describe_non_finite",
    "inspect_sites",
]


class ModelSites(NamedTuple):
    """
    What a model's trace tells about its sites.

    - **latent** - shapes of the latent sites, by name.
    - **batch_dependent** - deterministic sites whose value depends on the minibatch.
    - **data_size** - number of data: the size of the largest plate around an observed
      site, 1 where there is none.
    """

    latent: dict[str, tuple[int, ...]]
    batch_dependent: tuple[str, ...]
    data_size: int


def inspect_sites(model: Callable, plates: PlateSizes, args, kwargs) -> ModelSites:
    """
    Trace a model abstractly (no arithmetic) and check that it can be sampled by
    minibatches.

    :param model: a NumPyro model.
    :param PlateSizes plates: its subsampled plates.
    :raises ValueError: for a latent site inside a subsampled plate, a discrete latent
        site, arrays whose length is not their plate's, a model without latent sites.
    """
    sites: dict[str, dict] = {}
    indexed = IndexedModel(model)

    def values(indices):
        run = {**kwargs, INDICES_KWARG: indices}
        trace = trace_of(indexed, args, run, strategy=init_to_sample)
        for name, site in trace.items():
            if site["type"] == "sample":
                sites[name] = {
                    "observed": site["is_observed"],
                    "discrete": site["fn"].support.is_discrete,
                    "plates": {f.name: f.size for f in site["cond_indep_stack"]},
                    "shape": jnp.shape(site["value"]),
                }
        observed = [
            jnp.sum(site["fn"].log_prob(site["value"]))
            for site in trace.values()
            if site["type"] == "sample" and site["is_observed"]
        ]
        deterministic = {
            name: site["value"]
            for name, site in trace.items()
            if site["type"] == "deterministic"
        }
        return deterministic, observed

    indices = {
        name: jnp.zeros(p.subsample_size, int) for name, p in sorted(plates.items())
    }
    flow = trace_indices(values, indices)

    for name, operand, axis in flow.gathers:
        length, size = operand[axis], plates[name].size
        if length != size:
            raise ValueError(
                f"an array of shape {operand} is indexed by plate '{name}', which has "
                f"size {size}, but has length {length} there. Arrays under one plate "
                "need the same length: check the model's arguments."
            )
    _check_latent(sites, plates)
    latent = {k: s["shape"] for k, s in sites.items() if not s["observed"]}
    data_sizes = [
        plates[name].size if name in plates else size
        for site in sites.values()
        if site["observed"]
        for name, size in site["plates"].items()
    ]
    return ModelSites(latent, tuple(flow.dependent), max(data_sizes, default=1))


def _check_latent(sites: dict[str, dict], plates: PlateSizes) -> None:
    latent = {name: site for name, site in sites.items() if not site["observed"]}
    for name, site in latent.items():
        inside = [p for p in site["plates"] if p in plates]
        if inside:
            raise ValueError(
                f"latent site '{name}' is inside the subsampled plate '{inside[0]}': "
                "local latent variables cannot be sampled by minibatches, because a "
                "step sees only some of them. Move the site out of the plate, "
                "marginalize it, or drop subsample_size from this plate. (If the site "
                "should be observed, its value was None: pass the data.)"
            )
        if site["discrete"]:
            raise ValueError(
                f"latent site '{name}' is discrete, and Langevin dynamics needs "
                "gradients: marginalize it (for example with a mixture distribution), "
                "or sample it with numpyro's DiscreteHMCGibbs."
            )
    if not latent:
        raise ValueError(
            "the model has no latent sample sites: there is nothing to sample."
        )


def describe_non_finite(args, kwargs) -> str | None:
    """
    Say where NaN or infinite values are in the arguments of a model, or return None.
    Works on concrete arrays alone; traced ones are passed over.
    """
    found = []
    paths = jax.tree_util.tree_flatten_with_path((tuple(args), dict(kwargs)))[0]
    for path, leaf in paths:
        if isinstance(leaf, jax.core.Tracer) or not hasattr(leaf, "dtype"):
            continue
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        count = int(np.sum(~np.isfinite(np.asarray(leaf))))
        if count:
            where, rest = path[0].idx, path[1:]
            kind = "positional argument" if where == 0 else "keyword argument"
            label = jax.tree_util.keystr(rest).strip("[]'\"")
            found.append(f"{kind} {label} ({count} of {leaf.size} values)")
    return "; ".join(found) if found else None
