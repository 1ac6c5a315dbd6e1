# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Whether a model can run on rows that are split over devices; which plates are."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.model.arguments import abstractly
from numpyro_pl.model.handlers import density_model, trace_of
from numpyro_pl.model.indices import INDICES_KWARG
from numpyro_pl.model.plates import PlateSize, PlateSizes
from numpyro_pl.model.potential import Data, MinibatchPotential
from numpyro_pl.model.row_use import RowUse, trace_rows
from numpyro_pl.model.sharding import Shards, label_of
from numpyro_pl.model.sites import ModelSites, inspect_sites

__all__ = ["split_model"]


def split_model(
    model: Callable, data: Data, shards: Shards
) -> tuple[PlateSizes, ModelSites, Shards | None]:
    """
    The plates and sites of a model whose arguments are split over devices, found
    without arithmetic. Rows are split only where a subsampled plate takes them;
    without one JAX is left to divide the work.

    :param model: a NumPyro model.
    :param Data data: its arguments.
    :param Shards shards: how they are split.
    :raises ValueError: for a model that needs more than single rows of what is split,
        and for a minibatch that the devices cannot share.
    """

    def inspected(arrays):
        args, kwargs = shards.joined(data, arrays)
        plates = PlateSizes.of(model, *args, **kwargs)
        return plates, inspect_sites(model, plates, args, kwargs)

    try:
        plates, sites = abstractly(inspected, _shapes(data, shards))
        if not plates:
            return plates, sites, None
        use = _row_use(model, plates, data, shards)
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            "the model looks at the values of its arguments, which it cannot where "
            "they are split over devices: pass what it looks for as an argument, or "
            "the arguments as one array."
        ) from error
    _check_use(use, shards)
    split = {plate for plate, _ in use.taken}
    plates = PlateSizes(
        {n: _in_strata(n, p, shards) if n in split else p for n, p in plates.items()}
    )
    _check_parts(MinibatchPotential(model, plates, shards), data, shards)
    return plates, sites, shards


def _shapes(data: Data, shards: Shards) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in shards.split(data)]


def _row_use(model: Callable, plates: PlateSizes, data: Data, shards: Shards) -> RowUse:
    paths, _ = jax.tree_util.tree_flatten_with_path(data)
    labels = [
        label_of(path)
        for (path, _), axis in zip(paths, shards.axes, strict=True)
        if axis is not None
    ]

    def values(indices, arrays):
        args, kwargs = shards.joined(data, [arrays[label] for label in labels])
        run = {**kwargs, INDICES_KWARG: indices}
        trace = trace_of(density_model(model), args, run, strategy=init_to_uniform)
        return {
            name: site["fn"].log_prob(site["value"])
            for name, site in trace.items()
            if site["type"] == "sample"
        } | {n: s["value"] for n, s in trace.items() if s["type"] == "deterministic"}

    shapes = dict(zip(labels, _shapes(data, shards), strict=True))
    axes = dict(zip(labels, shards.split_axes, strict=True))
    indices = {n: jnp.zeros(p.subsample_size, int) for n, p in plates.items()}
    return trace_rows(values, indices, shapes, axes)


def _check_use(use: RowUse, shards: Shards) -> None:
    """:raises ValueError: if more than single rows of what is split is needed."""
    for site, faults in use.faults.items():
        raise ValueError(
            f"site '{site}' depends on {faults[0]}. The arguments are split along "
            f"{shards.axis!r} over {shards.num} devices, each of which runs the model "
            "on its own rows: the model may use them only by numpyro.subsample or "
            "x[rows] with the rows of its plate. Compute beforehand what needs all "
            "rows and pass it as an argument; place every array of rows with the same "
            "NamedSharding."
        )


def _in_strata(name: str, plate: PlateSize, shards: Shards) -> PlateSize:
    num, batch = shards.num, plate.subsample_size
    least = 2 if num > 1 else 1
    if batch % num or batch < least * num:
        below, above = (num * max(n, least) for n in (batch // num, -(-batch // num)))
        advice = f"{below} or {above}" if below != above else f"{above}"
        raise ValueError(
            f"plate '{name}' has subsample_size={batch}, which the {num} devices along "
            f"{shards.axis!r} cannot share equally with at least two rows each: take "
            f"subsample_size={advice}."
        )
    return plate._replace(strata=num, is_split=True)


def _check_parts(potential: MinibatchPotential, data: Data, shards: Shards) -> None:
    """:raises ValueError: if the model cannot run on one part of its rows."""

    def run(arrays):
        whole = shards.joined(data, arrays)
        key = jax.random.key(0)
        z = potential.first_position(key, whole, init_to_uniform)
        return potential(z, potential.first_rows(), *whole)

    try:
        # As they are placed: explicit axes of a mesh are part of an array's type.
        jax.eval_shape(run, jax.tree.map(jax.typeof, shards.split(data)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"the model cannot run on the rows of one of {shards.num} devices: "
            f"{str(error).splitlines()[0]} Take the size of its plate from the "
            "arguments, numpyro.plate('data', x.shape[0], ...): each device has only "
            "its own rows of x."
        ) from error
