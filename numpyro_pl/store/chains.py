# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The chains of a NumPyro `MCMC`, advanced one draw at a time. Only its public attributes
and its kernel are used; it is left as it is.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpyro.infer import MCMC
from numpyro.infer.mcmc import MCMCKernel

from numpyro_pl.model.arguments import ArgumentPrograms
from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import Tree, leaf_names, row
from numpyro_pl.trees.random_bits import is_single_key

__all__ = ["Chains"]


class Chains:
    """
    Chains as an `MCMC` would run them. Their states are a list: of one state, which may
    have a leading axis of chains, or of a state for each chain where they run one after
    the other.

    :param MCMC mcmc: what to run.
    :param data: the arguments of its model.
    :param extra_fields: fields of the state to read besides the draws.
    """

    def __init__(self, mcmc: MCMC, data: Data, extra_fields: tuple[str, ...] = ()):
        self.mcmc, self.data = mcmc, data
        self.kernel = fresh(mcmc.sampler)
        fields = (*self.kernel.default_fields, *extra_fields)
        self.fields = tuple(
            name for name in dict.fromkeys(fields) if name != self.kernel.sample_field
        )
        self._programs = ArgumentPrograms()
        self._mapped: dict[str, Callable] = {}

    @property
    def _in_turn(self) -> bool:
        return self.mcmc.num_chains > 1 and self.mcmc.chain_method == "sequential"

    @property
    def _map(self) -> Callable | None:
        """What maps a function of one chain over chains, if NumPyro does."""
        method = self.mcmc.chain_method
        if self.mcmc.num_chains == 1 or method in ("sequential", "vectorized"):
            return None
        return jax.pmap if method == "parallel" else method

    def start(self, rng_key: jax.Array, init_params: Tree | None) -> list:
        """
        States before the first draw.

        :param rng_key: a key for all chains, or one for each.
        :param init_params: initial values with a leading axis for more than one chain.
        """
        num = self.mcmc.num_chains
        if num > 1 and is_single_key(rng_key):
            rng_key = random.split(rng_key, num)
        args, kwargs = self.data

        def init(key, params=None):
            return self.kernel.init(key, self.mcmc.num_warmup, params, args, kwargs)

        given = () if init_params is None else (init_params,)
        if self._in_turn or self._map is not None:
            states = [init(rng_key[i], *row(given, i)) for i in range(num)]
        else:
            states = [init(rng_key, *given)]
        # What is split over devices is among the inputs of the programs here.
        states = [
            s._replace(carried=()) if hasattr(s, "carried") else s for s in states
        ]
        if self._map is not None:
            # A kernel that was initialized within the map would keep its tracers.
            states = [jax.tree.map(lambda *x: jnp.stack(x), *states)]
        # Without weak types, which a state read from a file does not have either.
        return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), states)

    def advance(self, states: list, num: int) -> list:
        """The states after `num` further steps of the kernel."""

        def advance(data, state, num):
            def step(_, state):
                return self.kernel.sample(state, *data)

            return lax.fori_loop(0, num, step, state)

        return [self._call("advance", advance, state, num) for state in states]

    def read(self, states: list) -> tuple[dict, dict]:
        """The draws and the fields of the states, arrays of shape (chain, ...)."""

        def read(data, state):
            draw = _field(state, self.kernel.sample_field)
            constrain = self.mcmc.postprocess_fn or self.kernel.postprocess_fn(*data)
            vectorized = self.mcmc.num_chains > 1 and not self._in_turn
            if vectorized and self._map is None:
                constrain = jax.vmap(constrain)
            fields = {name: _field(state, name) for name in self.fields}
            return constrain(draw), fields

        found = [self._call("read", read, state) for state in states]
        if self._in_turn:
            found = [jax.tree.map(lambda *x: np.stack(x), *found)]
        elif self.mcmc.num_chains == 1:
            found = [jax.tree.map(lambda x: np.asarray(x)[None], found[0])]
        draws, fields = jax.tree.map(np.asarray, found[0])
        # ArviZ drops fields that are no arrays.
        fields = {k: v for k, v in fields.items() if not isinstance(v, Mapping | tuple)}
        return _by_name(draws), fields

    def shown(self, states: list) -> str:
        """What the kernel has to say, for the progress bar."""
        keys = getattr(states[0], "rng_key", None)
        if keys is None or not is_single_key(keys):
            return ""
        return self.kernel.get_diagnostics_str(states[0])

    def _call(self, name: str, fn: Callable, state: Any, *rest) -> Any:
        """A function of the data and a state, compiled once."""
        if self._map is not None:
            if name not in self._mapped:
                one = lambda s, *r: fn(self.data, s, *r)  # noqa: E731
                mapped = self._map(one, in_axes=(0, *[None] * len(rest)))
                compiles = self._map is jax.pmap
                self._mapped[name] = mapped if compiles else jax.jit(mapped)
            return self._mapped[name](state, *rest)
        return self._programs.call(name, fn, self.data, state, *rest)


def fresh(kernel: MCMCKernel) -> MCMCKernel:
    """A copy of a kernel, without the functions that `init` leaves in it."""
    return copy.copy(kernel)


def _field(state: Any, name: str) -> Any:
    """
    A field of a state, of a field, and so on: names joined by dots, as in `MCMC.run`.

    :raises ValueError: if there is none.
    """
    value = state
    for part in name.split("."):
        try:
            if isinstance(value, Mapping):
                value = value[part]
            elif part.isdecimal():
                value = value[int(part)]
            else:
                value = getattr(value, part)
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            known = ", ".join(getattr(state, "_fields", ()))
            raise ValueError(
                f"extra_fields names '{name}', which the state of the kernel does not "
                f"have. Its fields are {known}."
            ) from error
    return value


def _by_name(draws: Tree) -> dict[str, np.ndarray]:
    """Draws by site; by number where there is no model, as in ArviZ."""
    if isinstance(draws, dict):
        leaves = jax.tree.leaves(draws)
        return dict(zip(leaf_names(draws), leaves, strict=True))
    return {f"Param:{i}": x for i, x in enumerate(jax.tree.leaves(draws))}
