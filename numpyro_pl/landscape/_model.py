# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The per-example loss of a NumPyro model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from numpyro_pl._handlers import (
    INDICES_KWARG,
    IndexedModel,
    PlateSizes,
    hide_sites,
    seeded,
    trace_of,
)
from numpyro_pl.landscape._loss import PyTree


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray)) and np.ndim(x) > 0


class _Spec(NamedTuple):
    """What is fixed about a model's likelihood: hashable, and compiled in."""

    model: Callable
    treedef: Any
    # For each argument: its name among the data, its place among the other arrays, or
    # the constant itself in a tuple (so that None can be one).
    leaves: tuple[str | int | tuple, ...]
    plate: str
    size: int
    observed: tuple[str, ...]
    include_prior: bool
    indexed: bool


@jax.tree_util.register_pytree_node_class
class ModelLoss:
    """
    Negative log likelihood of each row of a NumPyro model's data, in nats, as a
    function of the unconstrained latent values: `loss(params, data)` has shape (m,).
    Made by :func:`from_model`. It is a pytree of the model's other arguments.
    """

    def __init__(self, others: tuple, spec: _Spec):
        self._others = others
        self._spec = spec

    def tree_flatten(self):
        return (self._others,), self._spec

    @classmethod
    def tree_unflatten(cls, spec, children):
        return cls(children[0], spec)

    def _bind(self, data: PyTree):
        """The model and its arguments on the rows `data`."""
        spec = self._spec
        leaves = []
        for leaf in spec.leaves:
            if isinstance(leaf, str):
                leaves.append(data[leaf])
            else:
                leaves.append(
                    leaf[0] if isinstance(leaf, tuple) else self._others[leaf]
                )
        args, kwargs = jax.tree.unflatten(spec.treedef, leaves)
        if spec.indexed:
            kwargs = {**kwargs, INDICES_KWARG: {spec.plate: data}}
        return IndexedModel(spec.model), args, kwargs

    def __call__(self, params: PyTree, data: PyTree) -> jax.Array:
        spec = self._spec
        num_rows = jax.tree.leaves(data)[0].shape[0]
        model, args, kwargs = self._bind(data)
        values = constrain_fn(seeded(model), args, kwargs, params)
        trace = trace_of(model, args, kwargs, values)
        total = jnp.zeros(num_rows)
        for name in spec.observed:
            site = trace[name]
            (dim,) = (f.dim for f in site["cond_indep_stack"] if f.name == spec.plate)
            rows = jnp.moveaxis(site["fn"].log_prob(site["value"]), dim, 0)
            scale = 1.0 if site["scale"] is None else site["scale"]
            # The plate's own factor size / rows stands for the rows left out.
            scale = scale * (num_rows / spec.size if spec.indexed else 1.0)
            total = total - scale * rows.reshape(num_rows, -1).sum(-1)
        if not spec.include_prior:
            return total
        prior = hide_sites(seeded(model), spec.observed)
        return total + potential_energy(prior, args, kwargs, params) / spec.size

    def constrain(self, params: PyTree, data: PyTree) -> PyTree:
        """Constrained values of the latent sites; `data` as from :func:`from_model`."""
        model, args, kwargs = self._bind(data)
        return constrain_fn(seeded(model), args, kwargs, params)

    def unconstrain(self, values: PyTree, data: PyTree) -> PyTree:
        """
        Unconstrained values, the `params` of this loss, from constrained ones such as
        one draw of `mcmc.get_samples()` (`jax.vmap(loss.unconstrain, (0, None))` takes
        all draws).
        """
        model, args, kwargs = self._bind(data)
        latent = {k: v for k, v in values.items()}
        return unconstrain_fn(seeded(model), args, kwargs, latent)


def _sites(model, args, kwargs) -> list[tuple[str, bool, tuple]]:
    """(name, observed, plates) of each sample site, without arithmetic."""
    found = []

    def run():
        for name, site in trace_of(IndexedModel(model), args, kwargs).items():
            if site["type"] == "sample":
                frames = tuple((f.name, f.size) for f in site["cond_indep_stack"])
                found.append((name, bool(site["is_observed"]), frames))

    jax.eval_shape(run)
    return found


def _choose_plate(sites, sizes: PlateSizes, lengths: set[int]) -> tuple[str, int, bool]:
    """(name, size, whether rows are chosen by the plate's indices)."""
    if len(sizes) > 1:
        raise ValueError(
            f"the model subsamples {len(sizes)} plates, {', '.join(sizes)}; examples "
            "must be the rows of one. Give the others their full size."
        )
    if sizes:
        ((name, plate),) = sizes.items()
        return name, plate.size, True
    common = None
    for _, observed, frames in sites:
        if observed and frames:
            common = set(frames) if common is None else common & set(frames)
    plates = [p for p in common or () if p[1] in lengths]
    if len(plates) != 1:
        raise ValueError(
            "from_model found no single plate whose rows are the examples: the plates "
            f"shared by the observed sites are {sorted(common or ())}, and one of them "
            "must be as long as an array argument of the model. Put the likelihood in "
            "numpyro.plate(name, N, subsample_size=B) and its data through "
            "numpyro.subsample."
        )
    return (*plates[0], False)


def from_model(
    model: Callable, *args, include_prior: bool = False, **kwargs
) -> tuple[ModelLoss, PyTree]:
    """
    The per-example loss of a NumPyro model, and its data. ::

        loss, data = from_model(model, X, y)
        delta1(loss, params, data, k=100)

    The examples are the rows of the model's subsampled plate, all of them. Where no
    plate is subsampled they are the rows of the plate that holds the likelihood, and
    each array argument of that length must have them along its leading axis. `params`
    are the *unconstrained* latent values, as in a kernel's state (see
    :meth:`ModelLoss.unconstrain` for others).

    :param model: a NumPyro model.
    :param args: positional arguments of the model, with the full data.
    :param bool include_prior: add `1 / m` of the negative log prior (with the Jacobian
        of the constraints) to each example, so that the losses sum to NumPyro's
        potential energy. Factors outside the plate count as prior.
    :param kwargs: keyword arguments of the model.
    :return: ( :class:`ModelLoss`, data).
    :raises ValueError: where latent sites lie in the data's plate, likelihood lies
        outside it, or there is no single such plate.
    """
    sizes = PlateSizes.of(model, *args, **kwargs)
    leaves, treedef = jax.tree.flatten((args, kwargs))
    sites = _sites(model, args, kwargs)
    lengths = {x.shape[0] for x in leaves if _is_array(x)}
    plate, size, indexed = _choose_plate(sites, sizes, lengths)
    inside = {name for name, _, frames in sites if plate in dict(frames)}
    observed = tuple(n for n, is_observed, _ in sites if is_observed and n in inside)
    local = [n for n, is_observed, _ in sites if not is_observed and n in inside]
    outside = [n for n, is_observed, _ in sites if is_observed and n not in inside]
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
            "likelihood is no sum over its rows. Move them in, or count them as "
            "prior by include_prior=True."
        )
    spots: list[str | int | tuple] = []
    others: list[jax.Array] = []
    rows: PyTree = {}
    for i, x in enumerate(leaves):
        if not _is_array(x):
            spots.append((x,))
        elif x.shape[0] == size and not indexed:
            spots.append(f"argument {i}")
            rows[spots[-1]] = jnp.asarray(x)
        else:
            spots.append(len(others))
            others.append(jnp.asarray(x))
    spec = _Spec(
        model, treedef, tuple(spots), plate, size, observed, include_prior, indexed
    )
    loss = ModelLoss(tuple(others), spec)
    if indexed:
        return loss, jnp.arange(size)
    _check_slices(loss, rows, plate, size)
    return loss, rows


def _check_slices(loss: ModelLoss, data: PyTree, plate: str, size: int) -> None:
    """:raises ValueError: where fewer rows do not give the model a shorter plate."""
    few = max(size // 2, 1) if size > 1 else 2
    part = jax.tree.map(lambda x: jnp.resize(x, (few, *x.shape[1:])), data)
    model, args, kwargs = loss._bind(part)
    reason: Exception | str = ""
    try:
        found = {f for _, _, frames in _sites(model, args, kwargs) for f in frames}
        reason = f"its plates are {sorted(found)}"
        if (plate, few) in found:
            return
    except (TypeError, ValueError) as error:
        reason = error
    raise ValueError(
        f"the plate '{plate}' of size {size} does not follow the length of the model's "
        f"array arguments (on {few} rows: {reason}). Subsample it: numpyro.plate(name, "
        "N, subsample_size=B), with the data through numpyro.subsample."
    )
