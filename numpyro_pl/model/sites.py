# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Checks made before sampling starts: each error names the mistake and the remedy."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.model.handlers import density_model, trace_of
from numpyro_pl.model.index_flow import IndexFlow, trace_indices
from numpyro_pl.model.indices import INDICES_KWARG
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.sharding import local_values
from numpyro_pl.trees.arithmetic import is_array, is_traced

__all__ = [
    "ModelSites",
    "Site",
    "check_latent_sites",
    "describe_non_finite",
    "inspect_sites",
    "local_latent_sites",
    "plate_dims",
    "sites_of",
    "sites_on_full_data",
]


class Site(NamedTuple):
    """
    A sample site.

    - **observed** - whether it has data.
    - **discrete** - whether its support is discrete.
    - **bounded** - whether it is latent and has a bounded support.
    - **scale** - whether it is also one number.
    - **plates** - sizes of the plates around it, as traced, by name.
    """

    observed: bool
    discrete: bool
    bounded: bool
    scale: bool
    plates: dict[str, int]


class ModelSites(NamedTuple):
    """
    What a model's trace tells about its sites.

    - **latent** - names of the latent sites; None where there is no model.
    - **batch_dependent** - deterministic sites whose value depends on the minibatch.
    - **data_size** - number of data: the size of the largest plate around an observed
      site, 1 where there is none.
    - **crossed** - whether an observed site is inside several subsampled plates.
    - **bounded** - latent sites with a bounded support.
    - **scales** - those of one number.
    """

    latent: tuple[str, ...] | None = None
    batch_dependent: tuple[str, ...] = ()
    data_size: int = 1
    crossed: bool = False
    bounded: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()


def sites_of(trace: dict[str, dict]) -> dict[str, Site]:
    """
    The sample sites of a model.

    :param trace: dict of NumPyro's site messages by name.
    """
    return {
        name: Site(
            bool(site["is_observed"]),
            site["fn"].support.is_discrete,
            not site["is_observed"] and _is_bounded(site["fn"].support),
            not site["is_observed"] and _is_scale(site["fn"]),
            {frame.name: frame.size for frame in site["cond_indep_stack"]},
        )
        for name, site in trace.items()
        if site["type"] == "sample"
    }


def _is_bounded(support: Any) -> bool:
    """Whether unconstrained values are others than the values."""
    base = getattr(support, "base_constraint", support)
    return not support.is_discrete and not isinstance(base, type(constraints.real))


def _is_scale(distribution: Any) -> bool:
    """Whether the unconstrained value is one number, and another than the value."""
    support = distribution.support
    if not _is_bounded(support):
        return False
    # Two shares are one number, and one share is none.
    shape = dist.biject_to(support).inverse_shape(distribution.shape())
    return math.prod(shape) == 1


def sites_on_full_data(model: Callable, args, kwargs) -> dict[str, Site]:
    """
    The sample sites of a model on its full data, found without arithmetic.

    :param model: a NumPyro model.
    """
    found: dict[str, Site] = {}

    def run():
        found.update(sites_of(trace_of(density_model(model), args, kwargs)))

    jax.eval_shape(run)
    return found


def plate_dims(model: Callable, args, kwargs) -> dict[str, list[str]]:
    """
    Names of the plates around each site of a model, as ArviZ names dimensions by them.

    :param model: a NumPyro model.
    """
    found: dict[str, list[str]] = {}

    def run():
        for name, site in trace_of(
            model, args, kwargs, strategy=init_to_uniform
        ).items():
            frames = sorted(site.get("cond_indep_stack", ()), key=lambda f: f.dim)
            dims = [frame.name for frame in frames]
            dims += list(site.get("infer", {}).get("event_dims", ()))
            if dims and site["type"] in ("sample", "deterministic"):
                found[name] = dims

    jax.eval_shape(run)
    return found


def local_latent_sites(
    sites: dict[str, Site], plates: Iterable[str]
) -> list[tuple[str, str]]:
    """Latent sites inside one of the `plates`, as pairs (site, plate)."""
    return [
        (name, plate)
        for name, site in sites.items()
        for plate in plates
        if not site.observed and plate in site.plates
    ]


def check_latent_sites(sites: dict[str, Site], plates: PlateSizes) -> tuple[str, ...]:
    """
    Names of the latent sites of a model whose minibatches come from `plates`.

    :raises ValueError: for a latent site inside a subsampled plate, a discrete latent
        site that cannot be summed out, and a model without latent sites.
    """
    for name, plate in local_latent_sites(sites, plates):
        raise ValueError(
            f"latent site '{name}' is inside the subsampled plate '{plate}': a "
            "minibatch sees only some of its values, so that they can be neither "
            "sampled nor optimized by minibatches. Move the site out of the plate, "
            "marginalize it, or drop subsample_size from this plate. (If the site "
            "should be observed, its value was None: pass the data.)"
        )
    latent = tuple(name for name, site in sites.items() if not site.observed)
    for name in latent:
        if sites[name].discrete:
            raise ValueError(
                f"latent site '{name}' is discrete and has no finite number of values "
                "to sum over, and no gradient to follow: marginalize it, or take a "
                "distribution with a largest value."
            )
    if not latent:
        raise ValueError(
            "the model has no continuous latent sites (numpyro.sample without obs): "
            "there is nothing to sample."
        )
    return latent


def inspect_sites(model: Callable, plates: PlateSizes, args, kwargs) -> ModelSites:
    """
    Trace a model abstractly (no arithmetic) and check that it can be sampled by
    minibatches.

    :param model: a NumPyro model.
    :param PlateSizes plates: its subsampled plates.
    :raises ValueError: for latent sites that :func:`check_latent_sites` rejects, and
        for arrays whose length differs from that of their plate.
    """
    sites: dict[str, Site] = {}
    indexed = density_model(model)

    def values(indices):
        run = {**kwargs, INDICES_KWARG: indices}
        trace = trace_of(indexed, args, run, strategy=init_to_uniform)
        sites.update(sites_of(trace))
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
        name: np.zeros(p.subsample_size, jnp.result_type(int))
        for name, p in sorted(plates.items())
    }
    flow = trace_indices(values, indices)
    _check_lengths(flow, plates)
    latent = check_latent_sites(sites, plates)
    data_sizes = [
        plates[name].size if name in plates else size
        for site in sites.values()
        if site.observed
        for name, size in site.plates.items()
    ]
    crossed = any(
        len(plates.keys() & site.plates.keys()) > 1
        for site in sites.values()
        if site.observed
    )
    return ModelSites(
        latent,
        tuple(flow.dependent),
        max(data_sizes, default=1),
        crossed,
        tuple(name for name in latent if sites[name].bounded),
        tuple(name for name in latent if sites[name].scale),
    )


def _check_lengths(flow: IndexFlow, plates: PlateSizes) -> None:
    for name, operand, axis in flow.gathers:
        length, size = operand[axis], plates[name].size
        if length != size:
            raise ValueError(
                f"an array of shape {operand} is indexed by plate '{name}', which has "
                f"size {size}, but has length {length} there. Arrays under one plate "
                "need the same length: check the model's arguments."
            )


def float_arguments(args, kwargs) -> Iterator[tuple[str, str, Any]]:
    """
    Concrete arrays of floating-point numbers among the arguments of a model: whether
    each is in a `"positional"` or a `"keyword"` argument, its label, and the array.
    """
    paths = jax.tree_util.tree_flatten_with_path((tuple(args), dict(kwargs)))[0]
    for path, leaf in paths:
        if is_traced(leaf) or not is_array(leaf):
            continue
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            kind = "positional" if path[0].idx == 0 else "keyword"
            yield kind, jax.tree_util.keystr(path[1:]).strip("[]'\""), leaf


def describe_non_finite(args, kwargs) -> str | None:
    """
    Say where NaN or infinite values are in the arguments of a model, or return None.
    Only concrete arrays are checked; traced ones are skipped.
    """
    found = []
    for kind, label, leaf in float_arguments(args, kwargs):
        count = int(np.sum(~np.isfinite(local_values(leaf))))
        if count:
            found.append(f"{kind} argument {label} ({count} of {leaf.size} values)")
    return "; ".join(found) if found else None
