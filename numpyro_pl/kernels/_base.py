# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What every kernel of the package shares with NumPyro's `MCMC`."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.mcmc import MCMCKernel

from numpyro_pl._arguments import check_integer, check_unit_interval
from numpyro_pl._host import install_run_hook, is_prng_key, is_traced
from numpyro_pl.dynamics.noise import NOISES
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.kernels._binding import Binding, Data, data_signature
from numpyro_pl.kernels._draw import Draw, first_state, make_draw
from numpyro_pl.kernels._layout import Layout, leaf_names
from numpyro_pl.kernels._state import LangevinState
from numpyro_pl.minibatch import FullDataModel

__all__ = ["LangevinKernel", "LangevinState"]

FULL_BATCH_STEPS = 10
"""Steps per draw where no plate is subsampled and the user names no number."""


def _shown(temperature, batched: bool) -> str:
    """Temperatures of the groups, averaged over chains, for the progress bar."""
    values = np.asarray(temperature)
    values = values.mean(0) if batched else values
    return ",".join(f"{t:.3g}" for t in np.atleast_1d(values))


class LangevinKernel(MCMCKernel):
    """
    Base of the kernels: init, one draw of many steps, collected fields, resume.

    :param model: a NumPyro model; its subsampled plates give the minibatches.
    :param potential_fn: instead of a model, a potential energy of the position.
    :param noise_fraction: share of the thermostat's noise that warmup aims at.
    :param num_steps: integrator steps per draw.
    :param noise: kind of random increments.
    :param init_strategy: per-site initialization of NumPyro.
    :param full_potential: whether `potential_energy` is evaluated on the full data.
    """

    sample_field = "z"

    def __init__(
        self,
        model: Callable | None,
        potential_fn: Callable | None,
        *,
        noise_fraction: float,
        num_steps: int | None,
        noise: str,
        init_strategy: Callable,
        full_potential: bool,
        variance_rate: float,
    ):
        if (model is None) == (potential_fn is None):
            given = "neither" if model is None else "both"
            raise ValueError(
                f"{given} of `model` and `potential_fn` were given: give exactly one."
            )
        for name, fn in (("model", model), ("potential_fn", potential_fn)):
            if fn is not None and not callable(fn):
                raise ValueError(f"`{name}` must be callable, got {fn!r}.")
        if noise not in NOISES:
            raise ValueError(f"noise must be one of {NOISES}, got {noise!r}.")
        self._model = model
        self._potential_fn = potential_fn
        self._noise_fraction = check_unit_interval("noise_fraction", noise_fraction)
        self._num_steps = (
            None if num_steps is None else check_integer("num_steps", num_steps)
        )
        self._noise = noise
        self._init_strategy = (
            init_to_uniform if init_strategy is None else init_strategy
        )
        self._full_potential = bool(full_potential)
        self._variance_rate = check_unit_interval("variance_rate", variance_rate)
        self._num_warmup = 0
        self._reset()
        install_run_hook()

    def _reset(self) -> None:
        self._bindings: dict[Any, Binding] = {}
        # MCMC calls `init` before a resumed run only where this is None: after
        # unpickling, when the bindings must be built again.
        self._sample_fn = None

    def __getstate__(self):
        state = self.__dict__.copy()
        state["_bindings"] = {}
        state["_sample_fn"] = None
        return state

    @property
    def model(self):
        """The model on the full data, plates opened: for ArviZ and `Predictive`."""
        return None if self._model is None else FullDataModel(self._model)

    @property
    def default_fields(self):
        """Fields that every run collects."""
        return ("z", "diverging")

    def _bind(self, args: tuple, kwargs: dict) -> Binding:
        key = data_signature(args, kwargs)
        if key not in self._bindings:
            self._bindings[key] = Binding(
                self._model, self._potential_fn, args, kwargs, self._init_strategy
            )
        return self._bindings[key]

    def _steps(self, binding: Binding) -> int:
        if self._num_steps is not None:
            return self._num_steps
        return binding.plates.steps_per_epoch if binding.plates else FULL_BATCH_STEPS

    def init(
        self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None
    ):
        """
        Check the model and the data, find an initial position, measure noise and
        curvature there. See :meth:`numpyro.infer.mcmc.MCMCKernel.init`.

        :raises ValueError: for a model, data or initial values that cannot be sampled.
        """
        model_args = () if model_args is None else tuple(model_args)
        model_kwargs = {} if model_kwargs is None else dict(model_kwargs)
        binding = self._bind(model_args, model_kwargs)
        data = binding.prepare(model_args, model_kwargs)
        self._num_warmup = num_warmup
        self._sample_fn = True  # type: ignore[assignment]
        batched = not is_prng_key(rng_key)
        split = lambda k: tuple(random.split(k))  # noqa: E731
        rng_key, key_position = (jax.vmap(split) if batched else split)(rng_key)
        if init_params is not None:
            z = binding.check_position(init_params)
        elif self._model is None:
            raise ValueError(
                "init_params must be given with `potential_fn`: "
                "mcmc.run(key, init_params=...)."
            )
        else:
            z = binding.initial_position(key_position, data)

        def start(data, key, z):
            energy, grad = binding.potential_and_gradient(z, data)
            draw = self._draw(binding, data, z)
            return first_state(draw.dynamics, draw.layout, key, z, energy), grad

        many = lambda data, keys, z: jax.vmap(partial(start, data))(keys, z)  # noqa: E731
        fn = binding.compiled(f"init_{batched}", many if batched else start, data)
        state, grad = fn(rng_key, z)
        binding.check_finite(data, state.potential_energy, grad)
        return state.with_shared_arrays()

    def _groups(self, binding: Binding, names: list[str]) -> tuple[Partition, list]:
        """
        The dynamics of each group, and the number of the group of each leaf of a
        position.

        :param names: names of the leaves.
        """
        raise NotImplementedError

    def _draw(self, binding: Binding, data: Data, z) -> Draw:
        partition, groups = self._groups(binding, leaf_names(z))
        per_coordinate = [m.per_coordinate for m in partition.members]
        return Draw(
            binding,
            data,
            partition,
            Layout(z, groups, per_coordinate),
            self._steps(binding),
            self._num_warmup,
            self._noise,
            self._noise_fraction,
            self._variance_rate,
            self._full_potential,
        )

    def sample(self, state, model_args, model_kwargs):
        """One draw: many integrator steps. See NumPyro's `MCMCKernel.sample`."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        binding = self._bind(tuple(model_args), model_kwargs)
        data = binding.prepare(tuple(model_args), model_kwargs)
        batched = not is_prng_key(state.rng_key)
        one = jax.tree.map(lambda x: x[0], state.z) if batched else state.z
        return make_draw(self._draw(binding, data, one), state, batched)

    def postprocess_fn(self, model_args, model_kwargs):
        """Function from unconstrained draws to constrained values."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        binding = self._bind(tuple(model_args), model_kwargs)
        return binding.constrain_fn(binding.prepare(tuple(model_args), model_kwargs))

    def get_diagnostics_str(self, state):
        """Temperature, noise fraction and divergences, for the progress bar."""
        batched = np.ndim(state.i) > 0
        sampling = np.max(state.i) > self._num_warmup
        t = state.mean_kinetic_temperature if sampling else state.kinetic_temperature
        noise = float(jnp.mean(state.noise_fraction))
        divergences = int(jnp.sum(state.num_divergences))
        return (
            f"temperature={_shown(t, batched)} noise={noise:.3g} "
            f"divergences={divergences:d}"
        )

    def refresh(self, state, model_args, model_kwargs):
        """Nothing in the state depends on the data but the last potential energy."""
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
        """See :meth:`postprocess_fn`."""
        return self.postprocess_fn(model_args, model_kwargs)

    def _after_run(self, state: LangevinState, before: LangevinState | None) -> None:
        """Called by `MCMC.run` at its end: one warning that sums up what went wrong."""
        if is_traced(state):
            return
        count = int(np.sum(state.num_divergences))
        draws = int(np.sum(state.i)) - self._num_warmup * int(np.size(state.i))
        if before is not None:
            count -= int(np.sum(before.num_divergences))
            draws = int(np.sum(state.i)) - int(np.sum(before.i))
        if count > 0:
            warnings.warn(
                f"{count} of {draws} draws diverged (a step gave a non-finite value or "
                "a runaway temperature; the chain went on from the draw before). Try "
                "a lower max_frequency, noise_fraction or step_size, a larger "
                "subsample_size, more warmup, or a parametrization with lighter tails.",
                stacklevel=3,
            )
