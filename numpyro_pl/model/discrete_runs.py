# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Two runs of a model with discrete latent sites: one that others may see, in which these
are hidden with all that may depend on them, and one with given values of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.primitives as primitives
from jax import random

__all__ = ["BranchRun", "VisibleRun", "plate_dims_of", "support_of"]


class PlateRun(NamedTuple):
    """Size and subsample size that the model states; the rows that the plate has."""

    stated: tuple[int, int | None]
    args: tuple[int, int]
    rows: jax.Array


class VisibleRun(primitives.Messenger):
    """
    A run of a model as others may see it. From the first discrete latent site on,
    observed and deterministic sites are held back, since they may depend on it.
    """

    def __init__(self):
        self.discrete: dict[str, dict] = {}
        self.held: dict[str, dict] = {}
        self.values: dict[str, Any] = {}
        self.plates: dict[str, PlateRun] = {}
        self.has_control_flow = False
        self._stated: dict[str, tuple] = {}
        super().__init__()

    def process_message(self, msg):
        """Hide discrete sites, and those that may depend on them."""
        kind, name = msg["type"], msg.get("name")
        if kind == "plate":
            self._stated[name] = msg["args"]
        elif kind == "control_flow":
            self.has_control_flow = True
        elif _can_be_summed(msg):
            first = support_of(msg)[0]
            msg["value"] = jnp.broadcast_to(first, msg["fn"].batch_shape)
            msg["stop"] = True
            self.discrete[name] = msg
        elif self.discrete and (kind == "deterministic" or _is_observed(msg)):
            msg["stop"] = True
            self.held[name] = msg

    def postprocess_message(self, msg):
        """Remember values."""
        kind, name = msg["type"], msg.get("name")
        if kind == "plate":
            stated = self._stated[name]
            self.plates[name] = PlateRun(stated, msg["args"], msg["value"])
        elif kind in ("sample", "param", "mutable"):
            self.values[name] = msg["value"]


class BranchRun(primitives.Messenger):
    """
    A run with known values of all sites, which nobody sees.

    :param VisibleRun seen: the run that others see.
    :param dict chosen: a value of each discrete site.
    """

    def __init__(self, seen: VisibleRun, chosen: dict[str, jax.Array]):
        self.seen, self.chosen = seen, chosen
        self.log_probs: dict[str, jax.Array] = {}
        self.deterministic: dict[str, Any] = {}
        super().__init__()

    def process_message(self, msg):
        """Give every site its value."""
        kind, name = msg["type"], msg.get("name")
        if kind == "subsample":
            return
        msg["stop"] = True
        if kind == "plate":
            plate = self.seen.plates[name]
            msg["args"], msg["value"] = plate.args, plate.rows
        elif kind == "prng_key":
            msg["value"] = random.key(0)
        elif kind == "deterministic":
            self.deterministic[name] = msg["value"]
        elif kind in ("param", "mutable"):
            msg["value"] = self.seen.values[name]
        elif kind == "sample":
            if name in self.chosen:
                shape = msg["fn"].batch_shape
                msg["value"] = jnp.broadcast_to(self.chosen[name], shape)
            elif not msg["is_observed"]:
                msg["value"] = self.seen.values[name]
            self.log_probs[name] = _over_plates(msg)


def _can_be_summed(msg: dict) -> bool:
    """Whether a message is of a latent site with a known number of values."""
    if msg["type"] != "sample" or msg["is_observed"]:
        return False
    fn = msg["fn"]
    return fn.support.is_discrete and fn.has_enumerate_support and not fn.event_dim


def _is_observed(msg: dict) -> bool:
    return msg["type"] == "sample" and msg["is_observed"]


def support_of(site: dict) -> jax.Array:
    """The values that a discrete site takes, shape (values,)."""
    return site["fn"].enumerate_support(expand=False).reshape(-1)


def plate_dims_of(site: dict) -> dict[str, int]:
    """The dimension of each plate around a site, by name."""
    return {frame.name: frame.dim for frame in site["cond_indep_stack"]}


def _over_plates(site: dict) -> jax.Array:
    """Log probability of a site for each element of its plates."""
    log_prob = site["fn"].log_prob(site["value"])
    kept = {log_prob.ndim + dim for dim in plate_dims_of(site).values()}
    axes = tuple(axis for axis in range(log_prob.ndim) if axis not in kept)
    return jnp.sum(log_prob, axis=axes, keepdims=True)
