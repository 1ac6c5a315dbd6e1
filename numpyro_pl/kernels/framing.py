# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The settings `control_variate` and `dense_mass`: what a user may give, and the frame
(:mod:`numpyro_pl.warmup.frame`) that follows for a model.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.trees.arithmetic import Tree, is_traced, leaf_names, size_of

__all__ = [
    "anchor_values",
    "check_anchor",
    "check_dense_mass",
    "check_has_terms",
    "is_tall",
    "mixed_coordinates",
]

MOST_WHITE, LEAST_ROWS = 200, 20
"""Most coordinates of a model that is whitened by default, and the least number of rows
per coordinate."""

MOST_BYTES = 2**30
"""Most memory for the matrices of one chain."""


def is_tall(size: int, num_rows: int) -> bool:
    """
    Whether a model has so many rows for its coordinates that it is nearly normal.

    :param int size: number of coordinates.
    :param int num_rows: number of rows of its data.
    """
    return size <= MOST_WHITE and num_rows >= LEAST_ROWS * size


def check_anchor(anchor: Any) -> None:
    """:raises ValueError: if a value of `control_variate` is of no known kind."""
    named = isinstance(anchor, str) and anchor in ("auto", "mean", "map")
    if anchor is None or named or isinstance(anchor, Mapping):
        return
    raise ValueError(
        "control_variate must be 'auto', None, 'mean', 'map', or a dict of "
        f"unconstrained values by site, got {anchor!r}."
    )


def check_dense_mass(dense: Any) -> None:
    """:raises ValueError: if a value of `dense_mass` is of no known kind."""
    if dense == "auto" or isinstance(dense, bool):
        return
    tuples = isinstance(dense, Sequence) and not isinstance(dense, str)
    if tuples and all(
        isinstance(group, tuple) and all(isinstance(name, str) for name in group)
        for group in dense
    ):
        return
    raise ValueError(
        "dense_mass must be 'auto', True, False, or a list of tuples of site names, "
        f"such as [('a', 'b')], got {dense!r}."
    )


def check_has_terms(anchor: Any, forward: bool) -> None:
    """
    :param anchor: the setting `control_variate`.
    :param bool forward: whether the potential has forward-mode derivatives.
    :raises ValueError: if the model lacks the terms of the Taylor series.
    """
    if anchor is not None and not forward:
        raise ValueError(
            f"control_variate={anchor!r} needs forward-mode derivatives, which the "
            "model does not have: it uses a function with a jax.custom_vjp, such as an "
            "ODE solver or a fused kernel. Leave control_variate at 'auto' or None."
        )


def anchor_values(anchor: Mapping, z: Tree) -> Tree:
    """
    The anchor that a user gave, as arrays like a position.

    :param anchor: unconstrained values by site.
    :param z: a position of one chain.
    :raises ValueError: for missing or unknown sites, other shapes, and values that are
        not finite.
    """
    if not isinstance(z, Mapping) or set(anchor) != set(z):
        expected = sorted(z) if isinstance(z, Mapping) else "no sites"
        raise ValueError(
            "control_variate must have unconstrained values for the sites "
            f"{expected}, got {sorted(map(str, anchor))}."
        )
    values = {}
    for name, like in z.items():
        value = jnp.asarray(anchor[name], like.dtype)
        if value.shape != jnp.shape(like):
            raise ValueError(
                f"control_variate['{name}'] has shape {value.shape}, but the site has "
                f"the unconstrained shape {jnp.shape(like)}."
            )
        if not is_traced(value) and not np.isfinite(value).all():
            raise ValueError(
                f"control_variate['{name}'] holds values that are not finite."
            )
        values[name] = value
    return values


def mixed_coordinates(dense: Any, z: Tree) -> np.ndarray | None:
    """
    Which pairs of coordinates may be mixed, as a matrix of zeros and ones; None for no
    whitening.

    :param dense: the setting `dense_mass`, other than `"auto"`.
    :param z: a position of one chain.
    :raises ValueError: for a site that the model does not have, and if the matrices
        need too much memory.
    """
    if dense is False or dense == []:
        return None
    size = size_of(z)
    kinds = {jnp.result_type(x) for x in jax.tree.leaves(z)}
    num_bytes = 3 * size**2 * max(kind.itemsize for kind in kinds)
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f"dense_mass for {size:,} coordinates needs {num_bytes / 2**30:.1f} GiB "
            "for each chain. Leave it at 'auto' or False."
        )
    if dense is True:
        return np.ones((size, size), np.float32)
    names = leaf_names(z)
    sizes = [math.prod(jnp.shape(x)) for x in jax.tree.leaves(z)]
    owners = np.repeat(np.arange(len(names)), sizes)
    axes = np.eye(size, dtype=np.float32)
    for group in dense:
        unknown = [name for name in group if name not in names]
        if unknown:
            raise ValueError(
                f"dense_mass names {', '.join(map(repr, unknown))}, but the latent "
                f"sites are {', '.join(map(repr, names))}."
            )
        inside = np.isin(owners, [names.index(name) for name in group])
        axes[np.ix_(inside, inside)] = 1.0
    return axes
