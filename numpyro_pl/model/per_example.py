# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The loss of each row of a NumPyro model's data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from numpyro_pl.model.handlers import density_model, hide_sites, seeded, trace_of
from numpyro_pl.model.indices import INDICES_KWARG
from numpyro_pl.model.sites import sites_on_full_data
from numpyro_pl.trees.arithmetic import Tree

__all__ = ["LossSpec", "ModelLoss"]


class LossSpec(NamedTuple):
    """
    The static part of a :class:`ModelLoss`: hashable, and compiled in.

    - **model** - the NumPyro model.
    - **treedef** - structure of its (args, kwargs).
    - **leaves** - for each of their leaves: its name among the data, its place among
      the other arrays, or the constant itself in a tuple (so that None can be one).
    - **plate**, **size** - name and full size of the plate whose rows are the examples.
    - **observed** - names of the observed sites in it.
    - **include_prior** - whether each example has its share of the prior.
    - **indexed** - whether the data are indices of the plate's rows.
    """

    model: Callable
    treedef: Any
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
    Made by :func:`~numpyro_pl.landscape.from_model`. It is a pytree of the model's
    other arguments.

    :param tuple others: the arrays among the model's arguments that are not data.
    :param LossSpec spec: everything else.
    """

    def __init__(self, others: tuple, spec: LossSpec):
        self._others = others
        self._spec = spec

    def tree_flatten(self):
        """The other arguments, and what is compiled in."""
        return (self._others,), self._spec

    @classmethod
    def tree_unflatten(cls, spec, children):
        """The inverse of :meth:`tree_flatten`."""
        return cls(children[0], spec)

    def _bind(self, data: Tree) -> tuple[Callable, tuple, dict]:
        """The model and its arguments on the rows `data`."""
        spec = self._spec
        leaves = []
        for leaf in spec.leaves:
            if isinstance(leaf, str):
                leaves.append(data[leaf])
            elif isinstance(leaf, tuple):
                leaves.append(leaf[0])
            else:
                leaves.append(self._others[leaf])
        args, kwargs = jax.tree.unflatten(spec.treedef, leaves)
        if spec.indexed:
            kwargs = {**kwargs, INDICES_KWARG: {spec.plate: data}}
        return density_model(spec.model), args, kwargs

    def __call__(self, params: Tree, data: Tree) -> jax.Array:
        """
        The loss of each row, shape (rows,).

        :param params: unconstrained latent values by site.
        :param data: rows of the data from :func:`~numpyro_pl.landscape.from_model`.
        """
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

    def plates(self, data: Tree) -> dict[str, int]:
        """Sizes of all plates around sample sites on the rows `data`, by name."""
        sites = sites_on_full_data(*self._bind(data)).values()
        return {name: size for site in sites for name, size in site.plates.items()}

    def constrain(self, params: Tree, data: Tree) -> Tree:
        """
        Constrained values of the latent sites.

        :param params: unconstrained values by site.
        :param data: as from :func:`~numpyro_pl.landscape.from_model`.
        """
        model, args, kwargs = self._bind(data)
        return constrain_fn(seeded(model), args, kwargs, params)

    def unconstrain(self, values: Tree, data: Tree) -> Tree:
        """
        Unconstrained values, the `params` of this loss, from constrained ones such as
        one draw of `mcmc.get_samples()` (`jax.vmap(loss.unconstrain, (0, None))` takes
        all draws).

        :param values: constrained values by site.
        :param data: as from :func:`~numpyro_pl.landscape.from_model`.
        """
        model, args, kwargs = self._bind(data)
        return unconstrain_fn(seeded(model), args, kwargs, dict(values))
