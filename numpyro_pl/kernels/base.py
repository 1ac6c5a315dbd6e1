# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What every kernel of the package shares with NumPyro's `MCMC`."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from numpyro.infer.mcmc import MCMCKernel

from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.kernels.account import OF_EVERY_RUN, KernelAccount
from numpyro_pl.kernels.binding import Binding, bind_model, bind_potential
from numpyro_pl.kernels.layout import Layout
from numpyro_pl.kernels.placement import (
    Placements,
    chains_after_draw,
    chains_apart,
    check_keys,
)
from numpyro_pl.kernels.reports import report, shown
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.settings import KernelSettings
from numpyro_pl.kernels.start import (
    Start,
    check_finite,
    given_position,
    initial_position,
    two_keys,
)
from numpyro_pl.kernels.transition import next_state
from numpyro_pl.model.arguments import data_signature
from numpyro_pl.model.columns import warn_of_unscaled_columns
from numpyro_pl.model.full_data import FullDataModel
from numpyro_pl.model.plain_potential import as_it_is
from numpyro_pl.model.potential import Data
from numpyro_pl.model.starts import radius_of
from numpyro_pl.trees.arithmetic import Tree, is_traced, leaf_names, one_of, size_of
from numpyro_pl.trees.random_bits import is_single_key
from numpyro_pl.warmup.frame import FrameSettings, is_white
from numpyro_pl.warmup.schedule import Schedule

__all__ = ["LangevinKernel"]


class LangevinKernel(KernelAccount, MCMCKernel):
    """
    Base class of the kernels: initialization, one draw of many steps, collected fields,
    resuming. Subclasses define :meth:`_dynamics` and :meth:`_groups`.

    :param model: a NumPyro model; its subsampled plates give the minibatches.
    :param potential_fn: instead of a model, a potential energy of the position.
    :param KernelSettings settings: settings common to all kernels.
    :raises ValueError: if neither or both of `model` and `potential_fn` are given.
    """

    def __init__(
        self,
        model: Callable | None,
        potential_fn: Callable | None,
        settings: KernelSettings,
    ):
        if (model is None) == (potential_fn is None):
            given = "neither" if model is None else "both"
            raise ValueError(
                f"{given} of `model` and `potential_fn` were given: give exactly one."
            )
        for name, fn in (("model", model), ("potential_fn", potential_fn)):
            if fn is not None and not callable(fn):
                raise ValueError(f"`{name}` must be callable, got {fn!r}.")
        self._model = model
        self._potential_fn = potential_fn
        self.settings: Any = settings
        self._schedule = Schedule(0, 1)
        self._reset()

    def _dynamics(self, binding: Binding, num_coordinates: int) -> Partition:
        """
        The dynamics of each group, bound to a target.

        :param Binding binding: the target.
        :param int num_coordinates: number of its unconstrained coordinates.
        """
        raise NotImplementedError

    def _groups(self, names: list[str]) -> list[int]:
        """
        Number of the group of each leaf of a position.

        :param names: names of the leaves.
        """
        raise NotImplementedError

    def _reset(self) -> None:
        self._bindings: dict[Any, Binding] = {}
        self._placements = Placements()
        # MCMC calls `init` before a resumed run only if this is None, as it is after
        # unpickling, when the bindings must be rebuilt.
        self._sample_fn: bool | None = None

    def __getstate__(self):
        state = self.__dict__.copy()
        state["_bindings"], state["_placements"] = {}, Placements()
        state["_sample_fn"] = None
        return state

    @property
    def model(self):
        """
        The model on the full data, for ArviZ and `Predictive`, with discrete sites
        summed out if data follow. None with `collect`: both would need values of all
        its sites.
        """
        if self._model is None or self.settings.collect is not None:
            return None
        return FullDataModel(self._model)

    @property
    def sample_field(self):
        """The field of the state that holds the draws."""
        return "z" if self.settings.collect is None else "kept"

    @property
    def default_fields(self):
        """Fields that every run collects: what `report` needs, a few numbers a draw."""
        return (self.sample_field, *OF_EVERY_RUN)

    def _bind(self, model_args, model_kwargs) -> tuple[Binding, Data]:
        """The target for these arguments, and the data as its programs take them."""
        data = tuple(model_args or ()), dict(model_kwargs or {})
        signature = data_signature(data)
        shards = self._placements.of(data, signature)
        key = signature, shards
        if key not in self._bindings:
            if self._model is not None:
                self._bindings[key] = bind_model(self._model, data, shards)
            else:
                assert self._potential_fn is not None
                self._bindings[key] = bind_potential(self._potential_fn)
        binding = self._bindings[key]
        return binding, binding.programs.prepare(*data)

    def _schedule_for(self, binding: Binding, num_warmup: int) -> Schedule:
        num_steps = self.settings.num_steps or binding.default_num_steps
        return Schedule(num_warmup, num_steps)

    def _run(self, binding: Binding, data: Data, z: Tree) -> Run:
        framing = self._framing(binding, z)
        slow = framing is None and self._seeks_slow(binding, z)
        return Run(
            binding,
            data,
            self._dynamics(binding, size_of(z)),
            Layout(z, self._groups(leaf_names(z)), vectors=slow or is_white(framing)),
            self._schedule_for(binding, self._schedule.num_warmup),
            self.settings,
            framing,
            slow,
            framing is None and self._sets_friction_of(binding),
        )

    @property
    def _starts_at_random(self) -> bool:
        """Whether the program that prepares a chain draws its start."""
        random_start = radius_of(self.settings.init_strategy) is not None
        return self._model is not None and random_start

    def _given_anchor(self, rng_key: jax.Array, data: Data, z: Tree) -> Tree | None:
        """The anchor that the user has given, in the shape of `z`; None without one."""
        return None

    def _framing(self, binding: Binding, z: Tree) -> FrameSettings | None:
        """What the frame of a chain at a position is to have, None without one."""
        return None

    def _seeks_slow(self, binding: Binding, z: Tree) -> bool:
        """Whether slow directions are looked for."""
        return False

    def _sets_friction_of(self, binding: Binding) -> bool:
        """Whether the warmup sets the friction of chains that have no frame."""
        return False

    def init(
        self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None
    ):
        """
        Check the model and the data, and find an initial position. See NumPyro's
        `MCMCKernel.init`.

        :raises ValueError: for a model, data or initial values that cannot be sampled.
        """
        data = model_args, model_kwargs
        return self.init_at(None, rng_key, num_warmup, init_params, data)

    def init_at(self, temperature, rng_key, num_warmup, init_params=None, data=None):
        """
        :meth:`init` at another temperature, which is an input of the compiled program:
        further ones compile nothing.

        :param temperature: temperature of all groups; None for the kernel's own.
        :param rng_key: a PRNG key, or a batch of them.
        :param int num_warmup: number of warmup draws.
        :param init_params: unconstrained initial values, or None.
        :param data: positional and keyword arguments of the model.
        :raises ValueError: for a model, data or initial values that cannot be sampled.
        """
        data = data or ((), {})
        check_keys(rng_key, data)
        binding, data = self._bind(*data)
        self._schedule = self._schedule_for(binding, num_warmup)
        self._sample_fn = True
        warn_of_unscaled_columns(data, binding.potential.plates)
        shards = binding.potential.shards
        single = is_single_key(rng_key)
        rng_key, key_position = two_keys(rng_key)
        strategy = self.settings.init_strategy
        start = Start(binding, partial(self._run, binding), num_warmup > 0)
        finite: Any = False
        # Whether a traced start will do cannot be looked at.
        if init_params is None and self._starts_at_random and not is_traced(rng_key):
            drawn = start._replace(strategy=strategy)
            state, finite = drawn(data, rng_key, key_position, None, temperature)
        if not all(map(np.all, jax.tree.leaves(finite))):
            z = (
                initial_position(key_position, self._model, binding, data, strategy)
                if init_params is None
                else given_position(init_params, binding)
            )
            one = z if single else one_of(z)
            anchor = self._given_anchor(key_position, data, one)
            state, finite = start(data, rng_key, z, anchor, temperature)
            check_finite(data, *finite)
        state = state.sharing_arrays(1 if single else rng_key.shape[0])
        return state._replace(carried=self._placements.carried(shards, data))

    def sample(self, state, model_args, model_kwargs):
        """One draw: many integrator steps. See NumPyro's `MCMCKernel.sample`."""
        run, new = self._next(state, model_args, model_kwargs)
        if self.settings.warn:
            report(run, state.i.reshape(-1)[0], new)
        return new

    def sample_silently(self, state, model_args, model_kwargs):
        """
        :meth:`sample` without its warnings: for states mapped over a further axis,
        where a warning that depends on the state would be given always. The count `i`
        of draws should not be mapped: both branches of conditions on it would be
        computed.
        """
        return self._next(state, model_args, model_kwargs)[1]

    def _next(self, state, model_args, model_kwargs) -> tuple[Run, Any]:
        """What a draw depends on, and the state after it."""
        binding, data = self._bind(model_args, model_kwargs)
        shards, carried = binding.potential.shards, state.carried
        data = self._placements.restored(shards, data, carried)
        batched = not is_single_key(state.rng_key)
        run = self._run(binding, data, one_of(state.z) if batched else state.z)
        state = chains_apart(shards, state.rng_key, state._replace(carried=()))
        new = next_state(run, state, batched)
        new = chains_after_draw(shards, new.rng_key, new)
        return run, new._replace(carried=carried)

    def postprocess_fn(self, model_args, model_kwargs):
        """Function from collected draws to what the user sees."""
        if self.settings.collect is not None:
            return as_it_is
        return self.get_constrain_fn(model_args, model_kwargs)

    def get_diagnostics_str(self, state):
        """Stage, temperature, noise and divergences, for the progress bar."""
        stage = self._schedule.stage(int(np.max(state.i)) - 1)
        return shown(state, stage)

    def refresh(self, state, model_args, model_kwargs):
        """The state unchanged: only its last potential energy depends on the data."""
        return state

    def wrap_model(self, wrapper):
        """A copy of this kernel whose model is `wrapper(model)`."""
        if self._model is None:
            raise ValueError("wrap_model needs a kernel built from a model.")
        kernel = copy.copy(self)
        kernel._model = wrapper(self._model)
        kernel._reset()
        return kernel

    def get_constrain_fn(self, model_args, model_kwargs):
        """Function from an unconstrained position to constrained values."""
        binding, data = self._bind(model_args, model_kwargs)
        return binding.constrain_fn(data)
