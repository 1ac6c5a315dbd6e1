# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A NumPyro model as a per-example loss: which plate's rows are the examples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.model.per_example import LossSpec, ModelLoss
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.sites import Site, local_latent_sites, sites_on_full_data
from numpyro_pl.trees.arithmetic import Tree, is_array

__all__ = ["from_model"]


class _Plate(NamedTuple):
    """The plate whose rows are the examples; `indexed` if it is subsampled."""

    name: str
    size: int
    indexed: bool


def _has_rows(leaf: Any) -> bool:
    return is_array(leaf) and leaf.ndim > 0


def _choose_plate(
    sites: dict[str, Site], subsampled: PlateSizes, lengths: set[int]
) -> _Plate:
    """
    The subsampled plate, or else the one plate shared by the observed sites that is as
    long as an array argument.

    :param lengths: lengths of the model's array arguments.
    :raises ValueError: if there is no such plate, or more than one.
    """
    if len(subsampled) > 1:
        raise ValueError(
            f"the model subsamples {len(subsampled)} plates, {', '.join(subsampled)}; "
            "examples must be the rows of one. Give the others their full size."
        )
    if subsampled:
        ((name, plate),) = subsampled.items()
        return _Plate(name, plate.size, True)
    likelihood = [
        set(s.plates.items()) for s in sites.values() if s.observed and s.plates
    ]
    common = set.intersection(*likelihood) if likelihood else set()
    plates = [_Plate(*p, False) for p in common if p[1] in lengths]
    if len(plates) != 1:
        raise ValueError(
            "from_model found no single plate whose rows are the examples: the plates "
            f"shared by the observed sites are {sorted(common)}, and one of them "
            "must be as long as an array argument of the model. Put the likelihood in "
            "numpyro.plate(name, N, subsample_size=B) and its data through "
            "numpyro.subsample."
        )
    return plates[0]


def _observed_in(
    sites: dict[str, Site], plate: str, include_prior: bool
) -> tuple[str, ...]:
    """
    Names of the observed sites in the plate.

    :raises ValueError: if there are none, if latent sites lie in the plate, or if
        observed ones outside do not count as prior.
    """
    with_data = [name for name, site in sites.items() if site.observed]
    observed = tuple(name for name in with_data if plate in sites[name].plates)
    outside = [name for name in with_data if plate not in sites[name].plates]
    local = [name for name, _ in local_latent_sites(sites, [plate])]
    if not observed:
        raise ValueError(
            f"no observed site lies in the plate '{plate}'. Pass the observed values "
            "to the model (an argument such as y=None leaves the likelihood out)."
        )
    if local:
        raise ValueError(
            f"latent sites {local} lie in the plate '{plate}' of the data, so that the "
            "parameters grow with the examples. Marginalize them, or move them out."
        )
    if outside and not include_prior:
        raise ValueError(
            f"observed sites {outside} lie outside the plate '{plate}': their "
            "likelihood is not a sum over its rows. Move them in, or count them as "
            "prior by include_prior=True."
        )
    return observed


def from_model(
    model: Callable, *args, include_prior: bool = False, **kwargs
) -> tuple[ModelLoss, Tree]:
    """
    The per-example loss of a NumPyro model, and its data. ::

        loss, data = from_model(model, X, y)
        delta1(Solution(loss, params, data), k=100)

    The examples are the rows of the model's subsampled plate, all of them. If no plate
    is subsampled, they are the rows of the plate that holds the likelihood, and each
    array argument of that length must have them along its leading axis. `params` are
    the *unconstrained* latent values, as in a kernel's state; see
    :meth:`ModelLoss.unconstrain <numpyro_pl.model.per_example.ModelLoss.unconstrain>`
    for others.

    :param model: a NumPyro model.
    :param args: positional arguments of the model, with the full data.
    :param bool include_prior: add `1 / m` of the negative log prior (with the Jacobian
        of the constraints) to each example, so that the losses sum to NumPyro's
        potential energy. Factors outside the plate count as prior.
    :param kwargs: keyword arguments of the model.
    :return: (:class:`~numpyro_pl.model.per_example.ModelLoss`, data).
    :raises ValueError: if latent sites lie in the data's plate, likelihood lies
        outside it, or there is no single such plate.
    """
    leaves, treedef = jax.tree.flatten((args, kwargs))
    subsampled = PlateSizes.of(model, *args, **kwargs)
    sites = sites_on_full_data(model, args, kwargs)
    lengths = {x.shape[0] for x in leaves if _has_rows(x)}
    plate = _choose_plate(sites, subsampled, lengths)
    observed = _observed_in(sites, plate.name, include_prior)
    spots: list[str | int | tuple] = []
    others: list[jax.Array] = []
    rows: dict[str, jax.Array] = {}
    for i, x in enumerate(leaves):
        if not _has_rows(x):
            spots.append((x,))
        elif x.shape[0] == plate.size and not plate.indexed:
            spots.append(f"argument {i}")
            rows[f"argument {i}"] = jnp.asarray(x)
        else:
            spots.append(len(others))
            others.append(jnp.asarray(x))
    spec = LossSpec(
        model,
        treedef,
        tuple(spots),
        plate.name,
        plate.size,
        observed,
        include_prior,
        plate.indexed,
    )
    loss = ModelLoss(tuple(others), spec)
    if plate.indexed:
        return loss, jnp.arange(plate.size)
    _check_slices(loss, rows, plate)
    return loss, rows


def _check_slices(loss: ModelLoss, data: Tree, plate: _Plate) -> None:
    """:raises ValueError: if fewer rows do not give the model a shorter plate."""
    few = max(plate.size // 2, 1) if plate.size > 1 else 2
    part = jax.tree.map(lambda x: jnp.resize(x, (few, *x.shape[1:])), data)
    reason: Exception | str = ""
    try:
        found = loss.plates(part)
        if found.get(plate.name) == few:
            return
        reason = f"its plates are {sorted(found.items())}"
    except (TypeError, ValueError) as error:
        reason = error
    raise ValueError(
        f"the plate '{plate.name}' of size {plate.size} does not follow the length of "
        f"the model's array arguments (on {few} rows: {reason}). Subsample it: "
        "numpyro.plate(name, N, subsample_size=B), with the data through "
        "numpyro.subsample."
    )
