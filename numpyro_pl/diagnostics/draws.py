# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Draws by site name, from any container of posterior draws.

The containers of ArviZ 0.2x (`InferenceData`) and 1.x (`xarray.DataTree`) are
recognized by their attributes, because no installation has both classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numpyro_pl.diagnostics.convergence import MIN_DRAWS

__all__ = [
    "draws_of_mcmc",
    "is_xarray",
    "posterior_dataset",
    "posterior_draws",
    "scalar_names",
]


def posterior_draws(
    source: Any, name: str, group_by_chain: bool = True
) -> dict[str, np.ndarray]:
    """
    Draws of a posterior by site name.

    :param source: a NumPyro `MCMC` that has run, an ArviZ `InferenceData` or
        `xarray.DataTree` with a group "posterior", an `xarray.Dataset`, or a dict of
        arrays by site name.
    :param str name: name of the source in error messages.
    :param bool group_by_chain: whether the arrays of a dict have shape (chain, draw,
        ...) rather than (draw, ...). Ignored for other sources.
    :return: arrays of shape (chain, draw, ...) by site name.
    :raises TypeError: for any other source, or a site that is not an array of numbers.
    :raises ValueError: if there are no or too few draws, or sites differ in their
        numbers of chains or draws.
    """
    grouped = True
    if hasattr(source, "get_samples"):
        draws = draws_of_mcmc(source, name)
    elif is_xarray(source):
        draws = _from_xarray(source, name)
    elif isinstance(source, Mapping):
        draws, grouped = dict(source), group_by_chain
    else:
        raise TypeError(
            f"the {name} is a {type(source).__name__}. Pass an MCMC that has run, an "
            "ArviZ InferenceData or DataTree, or a dict of arrays (chain, draw, ...) "
            "by site name."
        )
    if not draws:
        raise ValueError(f"the {name} holds no sites.")
    arrays = {site: _as_array(value, site, name) for site, value in draws.items()}
    if not grouped:
        arrays = {site: value[None] for site, value in arrays.items()}
    _check_shapes(arrays, name, grouped)
    return arrays


def scalar_names(site: str, shape: tuple[int, ...]) -> list[str]:
    """
    One name per scalar of a site, in C order, as in `w[0,1]`; the site name itself if
    the site is a scalar.

    :param str site: site name.
    :param tuple shape: shape of one draw.
    """
    if not shape:
        return [site]
    return [f"{site}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def is_xarray(source: Any) -> bool:
    """Whether a source of draws is a container of xarray or ArviZ."""
    return any(hasattr(source, a) for a in ("children", "data_vars", "_groups"))


def draws_of_mcmc(mcmc: Any, name: str) -> dict[str, Any]:
    """
    Draws of an `MCMC`, of shape (chain, draw, ...) by site.

    :raises ValueError: if it has not run.
    :raises TypeError: if its draws are no dict.
    """
    try:
        draws = mcmc.get_samples(group_by_chain=True)
    except (AssertionError, KeyError, TypeError) as e:
        raise ValueError(
            f"the {name} is an MCMC without draws: call its run(...) first."
        ) from e
    if not isinstance(draws, Mapping):
        raise TypeError(
            f"the draws of the {name} are a {type(draws).__name__}, not a dict by site "
            "name (a kernel made from potential_fn rather than a model?). Pass a dict "
            "{name: array (chain, draw, ...)} instead."
        )
    return dict(draws)


def posterior_dataset(source: Any, name: str) -> Any:
    """
    The `xarray.Dataset` of the draws, or what is used like one.

    :raises ValueError: if there is none, or it has other dimensions.
    """
    if hasattr(source, "_groups"):  # InferenceData
        dataset = source["posterior"] if "posterior" in source.groups() else None
    elif "posterior" in getattr(source, "children", ()):
        dataset = source["posterior"]
    else:
        dataset = source
    if dataset is None or not len(dataset.data_vars):
        raise ValueError(
            f'the {name} has no group "posterior". Pass the object that '
            "arviz.from_numpyro(mcmc) returns."
        )
    for site, variable in dataset.data_vars.items():
        if not {"chain", "draw"} <= set(variable.dims):
            raise ValueError(
                f"variable '{site}' of the {name} has dimensions {variable.dims}, "
                'without "chain" and "draw".'
            )
    return dataset


def _from_xarray(source: Any, name: str) -> dict[str, Any]:
    return {
        str(site): variable.transpose("chain", "draw", ...).to_numpy()
        for site, variable in posterior_dataset(source, name).data_vars.items()
    }


def _as_array(value: Any, site: str, name: str) -> np.ndarray:
    if isinstance(value, Mapping | tuple):
        raise TypeError(
            f"site '{site}' of the {name} is a {type(value).__name__}, not an array. "
            "Pass each of its arrays under its own name."
        )
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        try:
            # To NumPy, bfloat16 and similar types are extension types.
            array = array.astype(np.float32, casting="safe")
        except (TypeError, ValueError) as e:
            raise TypeError(
                f"site '{site}' of the {name} has dtype {array.dtype}; draws must be "
                "real numbers."
            ) from e
    return array


def _check_shapes(arrays: dict[str, np.ndarray], name: str, grouped: bool) -> None:
    remedy = " For flat draws of shape (draw, ...) pass group_by_chain=False."
    heads = {site: value.shape[:2] for site, value in arrays.items()}
    for site, head in heads.items():
        if len(head) < 2:
            raise ValueError(
                f"site '{site}' of the {name} has shape {arrays[site].shape}, without "
                "axes for chains and draws." + remedy
            )
        first_site, first = next(iter(heads.items()))
        if head != first:
            raise ValueError(
                f"sites of the {name} differ in (chain, draw): {first} for "
                f"'{first_site}', {head} for '{site}'." + (remedy if grouped else "")
            )
        if head[0] < 1 or head[1] < MIN_DRAWS:
            raise ValueError(
                f"site '{site}' of the {name} has {head[0]} chains of {head[1]} draws; "
                f"at least 1 chain of {MIN_DRAWS} draws is needed."
                + (remedy if grouped else "")
            )
