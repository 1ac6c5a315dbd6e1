# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models with discrete latent sites, which are summed out: what is left has continuous
sites only, and the gradient that samplers need.

The model runs once as it is, except that its discrete sites are hidden, with all that
may depend on them. Then it runs for all their values at once, which gives the factors
to sum. Within a subsampled plate each element has a sum of its own, so that the sum
over a minibatch is as unbiased as without discrete sites.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack

import jax
import numpy as np
import numpyro
from numpyro.distributions import MaskedDistribution

from numpyro_pl.model.discrete_runs import (
    BranchRun,
    PlateRun,
    VisibleRun,
    plate_dims_of,
    support_of,
)
from numpyro_pl.model.elimination import LogFactor, Variable, sum_out
from numpyro_pl.model.index_flow import flows_through
from numpyro_pl.trees.arithmetic import is_traced

__all__ = ["MarginalModel"]

MOST_VALUES = 1024
"""Combinations of discrete values for which a site may be computed."""


class MarginalModel:
    """
    A model whose discrete latent sites are summed out. Sites that depend on them become
    factors, named after the site that was summed out last; deterministic ones are left
    out. A model without discrete sites runs as it is.

    :param model: a NumPyro model.
    """

    def __init__(self, model: Callable):
        self.model = model

    def __call__(self, *args, **kwargs):
        """
        Run the model.

        :raises ValueError: for discrete sites that cannot be summed out.
        """
        seen = VisibleRun()
        with seen:
            result = self.model(*args, **kwargs)
        if not seen.discrete:
            return result
        _check_sites(seen)

        def branch(chosen):
            run = BranchRun(seen, chosen)
            with run:
                self.model(*args, **kwargs)
            return run.log_probs, run.deterministic

        supports = {name: support_of(site) for name, site in seen.discrete.items()}
        needs = _needs(branch, supports)
        _check_needs(needs, seen, supports)
        for factor in _marginal(branch, seen, supports, needs):
            with _plates(seen, factor.plates):
                numpyro.factor(f"{factor.name}_marginal", factor.values)
        for name, site in seen.held.items():
            if not needs[name]:
                _show(seen, site)
        return result


def _plates(seen: VisibleRun, dims: dict[str, int]) -> ExitStack:
    """The plates of a run, entered once more."""
    entered = ExitStack()
    for name, dim in dims.items():
        plate = numpyro.plate(name, *seen.plates[name].stated, dim=dim)
        entered.enter_context(plate)
    return entered


def _show(seen: VisibleRun, site: dict) -> None:
    """Show a site that was held back and does not depend on discrete ones."""
    with _plates(seen, plate_dims_of(site)):
        if site["type"] == "deterministic":
            numpyro.deterministic(site["name"], site["value"])
        else:
            infer = site["infer"]
            numpyro.sample(site["name"], site["fn"], obs=site["value"], infer=infer)


def _needs(branch: Callable, supports: dict[str, jax.Array]) -> dict[str, list[str]]:
    """The discrete sites on which each site depends, in their order."""
    first = {name: values[0] for name, values in supports.items()}
    closed, shape = jax.make_jaxpr(branch, return_shape=True)(first)
    flows = [frozenset({name}) for name in sorted(first)]

    def united(_, inputs):
        return frozenset().union(*inputs)

    outputs = iter(flows_through(closed.jaxpr, flows, united, frozenset()))
    needs: dict[str, list[str]] = {}
    for sites in shape:
        for name in sorted(sites):
            leaves = [next(outputs) for _ in jax.tree.leaves(sites[name])]
            found = united(None, leaves)
            needs[name] = [variable for variable in first if variable in found]
    return needs


def _marginal(branch, seen: VisibleRun, supports, needs) -> list[LogFactor]:
    """The factors that are left when the discrete sites are summed out."""
    sites = seen.held | seen.discrete
    variables = {
        n: Variable(n, frozenset(plate_dims_of(s))) for n, s in seen.discrete.items()
    }
    touched = {n: need for n, need in needs.items() if need and _has_density(sites, n)}
    dims = [dim for name in touched for dim in plate_dims_of(sites[name]).values()]
    depth = -min(dims, default=0)

    def tables(chosen):
        log_probs, _ = branch(chosen)
        return {name: _in_depth(log_probs[name], depth) for name in touched}

    for variable in reversed(supports):
        axes = {name: 0 if variable in need else None for name, need in touched.items()}
        tables = _for_all(tables, variable, supports[variable], axes)
    return sum_out(
        [
            LogFactor(
                values,
                tuple(variables[v] for v in touched[name]),
                plate_dims_of(sites[name]),
                name,
            )
            for name, values in tables({}).items()
        ],
        list(variables.values()),
    )


def _has_density(sites: dict[str, dict], name: str) -> bool:
    return name in sites and sites[name]["type"] == "sample"


def _in_depth(log_prob: jax.Array, depth: int) -> jax.Array:
    """A log probability with `depth` dimensions of plates."""
    shape = log_prob.shape[max(log_prob.ndim - depth, 0) :]
    return log_prob.reshape((1,) * (depth - len(shape)) + shape)


def _for_all(fn: Callable, name: str, values: jax.Array, axes: dict) -> Callable:
    """`fn` for all values of one discrete site, along axes of what it returns."""

    def of_value(value, chosen):
        return fn({**chosen, name: value})

    over_values = jax.vmap(of_value, in_axes=(0, None), out_axes=axes)
    return lambda chosen: over_values(values, chosen)


def _check_sites(seen: VisibleRun) -> None:
    """:raises ValueError: for sites that do not fit in with discrete ones."""
    first = next(iter(seen.discrete))
    if seen.has_control_flow:
        raise ValueError(
            f"the model has the discrete latent site '{first}' and a scan or cond of "
            "numpyro.contrib.control_flow, through which it cannot be summed out: "
            "write the loop in Python, or marginalize by hand."
        )
    for name, site in seen.discrete.items():
        shape, dims = site["fn"].batch_shape, plate_dims_of(site).values()
        others = [n for i, n in enumerate(shape) if i - len(shape) not in dims]
        if math.prod(others) != 1:
            raise ValueError(
                f"the discrete latent site '{name}' has shape {shape}, of which plates "
                "account only in part: put it into a numpyro.plate, or write a site "
                "for each of its values."
            )
    for name, site in (seen.held | seen.discrete).items():
        if site["type"] == "sample" and not _has_scale_of_plates(site, seen.plates):
            raise ValueError(
                f"site '{name}' is scaled by numpyro.handlers.scale, and the model has "
                f"the discrete latent site '{first}', over which a scaled probability "
                "cannot be summed: drop the scale, or marginalize by hand."
            )


def _has_scale_of_plates(site: dict, plates: dict[str, PlateRun]) -> bool:
    around = [plates[name] for name in plate_dims_of(site)]
    scale = 1.0 if site["scale"] is None else site["scale"]
    expected = math.prod(plate.stated[0] / len(plate.rows) for plate in around)
    if is_traced(scale) or np.size(scale) != 1:
        return False
    return math.isclose(float(scale), expected, rel_tol=1e-5)


def _check_needs(needs: dict[str, list[str]], seen: VisibleRun, supports: dict) -> None:
    """:raises ValueError: for a site that depends on discrete ones and must not."""
    hidden = seen.held | seen.discrete
    _check_use(needs, seen)
    for name, need in needs.items():
        if name in hidden and not _has_density(hidden, name):
            continue
        if need and name not in hidden:
            raise ValueError(
                f"the continuous latent site '{name}' depends on the discrete latent "
                f"site '{need[0]}', which cannot be summed out then: sample a value of "
                f"'{name}' for each of its values and choose among these, or "
                "marginalize by hand."
            )
        for variable in need:
            _check_plates(name, variable, seen)
        number = math.prod(len(supports[variable]) for variable in need)
        if number > MOST_VALUES:
            raise ValueError(
                f"site '{name}' depends on {len(need)} discrete latent sites with "
                f"{number:,} combinations of values, more than the {MOST_VALUES:,} for "
                "which it can be computed: marginalize by hand."
            )


def _check_plates(name: str, variable: str, seen: VisibleRun) -> None:
    """:raises ValueError: for a discrete site outside a subsampled plate."""
    site = (seen.held | seen.discrete)[name]
    for plate in plate_dims_of(site).keys() - plate_dims_of(seen.discrete[variable]):
        size, subsample_size = seen.plates[plate].stated
        if subsample_size not in (None, size):
            raise ValueError(
                f"the discrete latent site '{variable}' is outside the subsampled "
                f"plate '{plate}', and '{name}' within it depends on it: a sum over "
                "its values takes all rows at once. Drop subsample_size, or "
                "marginalize by hand."
            )


def _check_use(needs: dict[str, list[str]], seen: VisibleRun) -> None:
    """:raises ValueError: for a discrete site that no density depends on."""
    for name, site in seen.discrete.items():
        users = [n for n, need in needs.items() if name in need and n != name]
        used = any(n not in seen.held or _has_density(seen.held, n) for n in users)
        # Values that are missing may be of no use.
        if not used and not isinstance(site["fn"], MaskedDistribution):
            raise ValueError(
                f"nothing depends on the discrete latent site '{name}': if it should "
                "be observed, its value was None: pass the data. Leave it out "
                "otherwise."
            )
