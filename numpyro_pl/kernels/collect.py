# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The setting `collect`: what a draw keeps of the constrained values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl.kernels.groups import matches
from numpyro_pl.trees.arithmetic import Tree, leaf_names

__all__ = ["ONE_ARRAY", "Collect", "check_collect", "collected"]

Collect = str | Sequence[str] | Callable[[Any], Tree] | None
"""Patterns over site names, a function of the constrained values, or all of them."""

ONE_ARRAY = "collected"
"""Name of the draws of a function that returns one array."""


def check_collect(collect: Any) -> None:
    """:raises ValueError: if a value of `collect` is of no known kind."""
    if collect is None or isinstance(collect, str) or callable(collect):
        return
    listed = isinstance(collect, Sequence) and len(collect) > 0
    if not listed or not all(isinstance(pattern, str) for pattern in collect):
        raise ValueError(
            "collect must be a pattern over site names such as 'nn/Dense_1*', a list "
            "of patterns, a function of a dict of constrained values by site, or None "
            f"to keep every site; got {collect!r}."
        )


def collected(collect: Collect, values: Tree, skipped: Sequence[str]) -> dict:
    """
    What a draw keeps.

    :param collect: the setting, not None.
    :param values: constrained values of one draw, a dict by site name.
    :param skipped: names of deterministic sites that `values` leaves out, because they
        depend on the minibatch.
    :return: arrays by name.
    :raises ValueError: for a pattern that matches no site, and for a function that asks
        for an unknown site or returns no arrays.
    """
    if callable(collect):
        return _result_of(collect, values)
    patterns = [collect] if isinstance(collect, str) else list(collect or ())
    named = dict(zip(leaf_names(values), jax.tree.leaves(values), strict=True))
    for pattern in patterns:
        if not any(matches(name, pattern) for name in named):
            raise ValueError(_unmatched(pattern, list(named), skipped))
    return {
        name: jnp.asarray(value)
        for name, value in named.items()
        if any(matches(name, pattern) for pattern in patterns)
    }


def _unmatched(pattern: str, names: list[str], skipped: Sequence[str]) -> str:
    varying = [name for name in skipped if matches(name, pattern)]
    if varying:
        return (
            f"collect names {', '.join(map(repr, varying))}, which depends on the "
            "minibatch and has no value of its own: compute it from the latent sites, "
            "in a function given as collect."
        )
    return (
        f"collect={pattern!r} matches no site: correct it or leave it out. The sites "
        f"are {', '.join(map(repr, names))}."
    )


def _result_of(fn: Callable[[Any], Tree], values: Tree) -> dict[str, jax.Array]:
    """What a function returns, as arrays by name."""
    try:
        result = fn(values)
    except KeyError as error:
        known = ", ".join(map(repr, values)) if isinstance(values, Mapping) else "none"
        raise ValueError(
            f"the function given as collect asks for {error}, but it is passed a dict "
            f"of constrained values of the sites {known}."
        ) from error
    try:
        leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(result)]
    except TypeError as error:
        raise ValueError(
            "the function given as collect must return an array, or a dict or tuple "
            f"of arrays; got {result!r}."
        ) from error
    if not leaves:
        raise ValueError(
            "the function given as collect returned no arrays: return what each draw "
            "is to keep."
        )
    names = [name or ONE_ARRAY for name in leaf_names(result)]
    return dict(zip(names, leaves, strict=True))
