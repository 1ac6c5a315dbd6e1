# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What every kernel of the package shares with NumPyro's `MCMC`."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from numpyro.infer.initialization import init_to_uniform
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import identity

from numpyro_pl import adaptation
from numpyro_pl._checks import check_integer
from numpyro_pl._host import install_run_hook, is_prng_key, is_traced
from numpyro_pl.dynamics.integrate import integrate, measured_steps
from numpyro_pl.dynamics.noise import NOISES, resolve_noise
from numpyro_pl.kernels._binding import Binding, Data, data_signature, packing
from numpyro_pl.minibatch import FullDataModel

__all__ = ["LangevinKernel", "LangevinState"]

FULL_BATCH_STEPS = 10
"""Steps per draw where no plate is subsampled and the user names no number."""

HOT = 100.0
"""A draw this many times hotter than the target, kinetically, has diverged."""


CHAINS = "chains"
"""Name of the axis of vectorized chains."""


def _pool(tree: Any, how: str) -> Any:
    """Combine a tree over vectorized chains, which then share their step sizes."""
    return {"mean": lax.pmean, "max": lax.pmax}[how](tree, CHAINS)


class LangevinState(NamedTuple):
    """
    State of a chain. Trees are like the position `z`.

    - **i** - number of draws made, warmup included.
    - **z** - the draw: unconstrained latent values.
    - **displacement** - what one step adds to the position, `h p / M`.
    - **step_size** - step sizes, `(1 + c) h^2 / (2 M)`, fixed after warmup.
    - **noise_variance** - running variance of the minibatch gradient.
    - **potential_energy** - potential at `z` in nats, on the full data unless the
      kernel was told otherwise; ArviZ stores its negative as `lp`.
    - **kinetic_temperature** - mean kinetic temperature over the draw's steps; its
      expectation is the target temperature.
    - **mean_kinetic_temperature** - its running mean since the end of warmup.
    - **noise_fraction** - mean share of the thermostat's noise that minibatches
      supplied.
    - **noise_eigenvalue** - largest eigenvalue of the noise covariance in units of the
      thermostat's noise, measured at the end of warmup.
    - **diverging** - whether the draw was thrown away because it was not finite (the
      chain goes on from the draw before with a fresh momentum).
    - **num_divergences** - their number since the end of warmup.
    - **rng_key** - key of the next draw.
    """

    i: jax.Array
    z: Any
    displacement: Any
    step_size: Any
    noise_variance: Any
    potential_energy: jax.Array
    kinetic_temperature: jax.Array
    mean_kinetic_temperature: jax.Array
    noise_fraction: jax.Array
    noise_eigenvalue: jax.Array
    diverging: jax.Array
    num_divergences: jax.Array
    rng_key: jax.Array


class LangevinKernel(MCMCKernel):
    """
    Base of the kernels: init, one draw of many steps, collected fields, resume.

    :param model: a NumPyro model; its subsampled plates give the minibatches.
    :param potential_fn: instead of a model, a potential energy of the position.
    :param dynamics: the dynamics of a step.
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
        dynamics,
        *,
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
        self.dynamics = dynamics
        self._num_steps = (
            None if num_steps is None else check_integer("num_steps", num_steps)
        )
        self._noise = noise
        self._init_strategy = (
            init_to_uniform if init_strategy is None else init_strategy
        )
        self._full_potential = bool(full_potential)
        self._variance_rate = variance_rate
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
            return self._initial_state(key, z, energy), grad

        many = lambda data, keys, z: jax.vmap(partial(start, data))(keys, z)  # noqa: E731
        fn = binding.compiled(f"init_{batched}", many if batched else start, data)
        state, grad = fn(rng_key, z)
        binding.check_finite(data, state.potential_energy, grad)
        return state

    def _initial_state(self, rng_key, z, energy):
        """The state before the first draw, which begins with an adaptation."""
        dtype = jnp.result_type(*jax.tree.leaves(z))
        zero = jnp.zeros((), dtype)
        zeros = jax.tree.map(jnp.zeros_like, z)
        return LangevinState(
            i=jnp.asarray(0),
            z=z,
            displacement=zeros,
            step_size=jax.tree.map(jnp.ones_like, z),
            noise_variance=zeros,
            potential_energy=energy,
            kinetic_temperature=jnp.asarray(self.dynamics.temperature, dtype),
            mean_kinetic_temperature=zero,
            noise_fraction=zero,
            noise_eigenvalue=zero,
            diverging=jnp.asarray(False),
            num_divergences=jnp.asarray(0),
            rng_key=rng_key,
        )

    def _noise_batches(self, binding: Binding) -> int:
        return int(
            np.clip(
                binding.plates.steps_per_epoch,
                adaptation.MIN_NOISE_BATCHES,
                adaptation.NOISE_BATCHES,
            )
        )

    def _variance_weight(self, binding: Binding, i):
        return adaptation.variance_weight(
            i, self._num_warmup, self._steps(binding), self._variance_rate
        )

    @property
    def _noise_fraction(self) -> float:
        return self.dynamics.noise_fraction

    @property
    def _burn_in_fraction(self) -> float:
        return max(adaptation.BURN_IN_FRACTION, self._noise_fraction)

    def _mean_noise_fraction(self, step_size, variance):
        fractions = jax.tree.leaves(self.dynamics.noise_fractions(step_size, variance))
        return sum(jnp.sum(f) for f in fractions) / sum(f.size for f in fractions)

    def sample(self, state, model_args, model_kwargs):
        """One draw: many integrator steps. See NumPyro's `MCMCKernel.sample`."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        binding = self._bind(tuple(model_args), model_kwargs)
        data = binding.prepare(tuple(model_args), model_kwargs)
        batched = not is_prng_key(state.rng_key)
        # All chains are at the same draw; a predicate without chain axis keeps `cond`
        # from computing both branches.
        i = state.i.reshape(-1)[0]
        map_chains = partial(jax.vmap, axis_name=CHAINS) if batched else identity
        events = adaptation.event_draws(self._num_warmup)
        adapt = map_chains(partial(self._adapt, binding, data, i, batched))
        state = lax.cond(jnp.any(i == jnp.asarray(events)), adapt, identity, state)
        measure = map_chains(partial(self._measure_eigenvalue, binding, data))
        state = lax.cond(i == int(events[-1]), measure, identity, state)
        return map_chains(partial(self._draw, binding, data, i))(state)

    def _draw(self, binding: Binding, data: Data, i, state: LangevinState):
        key_next, key_steps, key_fresh, key_energy = random.split(state.rng_key, 4)
        pack, unpack = packing(state.z)
        gradient = binding.gradient(data, unpack)
        num_steps = self._steps(binding)
        size = sum(x.size for x in jax.tree.leaves(state.z))
        warming = i < self._num_warmup
        burning = i < adaptation.burn_in_end(self._num_warmup)
        z, u, variance, temperature = integrate(
            key_steps,
            self.dynamics,
            gradient,
            pack(state.z),
            pack(state.displacement),
            pack(state.step_size),
            pack(state.noise_variance),
            num_steps=num_steps,
            measure_every=measured_steps(num_steps, size, gradient.always_halves),
            variance_rate=1.0 / self._variance_weight(binding, i),
            noise=resolve_noise(self._noise, state.z),
        )
        z, u, variance = unpack(z), unpack(u), unpack(variance)
        if self._full_potential:
            energy = binding.potential_energy(z, data)
        else:
            energy = binding.minibatch_potential(z, data, key_energy)
        finite = jnp.isfinite(energy) & jnp.isfinite(temperature)
        for leaf in jax.tree.leaves((z, u)):
            finite &= jnp.isfinite(jnp.sum(leaf))
        hot = temperature > HOT * self.dynamics.temperature
        diverging = ~finite | (hot & ~burning)
        keep = lambda new, old: jax.tree.map(  # noqa: E731
            lambda a, b: jnp.where(diverging, b, a), new, old
        )
        # In warmup a divergence says that the step sizes are too large; afterwards they
        # are fixed.
        shrink = jnp.where(diverging & warming, 0.25, 1.0)
        step_size = jax.tree.map(lambda a: a * shrink.astype(a.dtype), state.step_size)
        fresh = lambda: self.dynamics.draw_displacement(key_fresh, step_size)  # noqa: E731
        u = lax.cond(diverging, fresh, lambda: u)
        temperature = keep(temperature, state.kinetic_temperature)
        num_draws = jnp.maximum(i + 1 - self._num_warmup, 1)
        mean = state.mean_kinetic_temperature
        mean = jnp.where(warming, mean, mean + (temperature - mean) / num_draws)
        counted = diverging & ~warming
        # Not kept from before the draw: that would hold one more array for all of it.
        bounded = lambda: self.dynamics.bounded_variance(step_size, variance)  # noqa: E731
        variance = lax.cond(diverging, bounded, lambda: variance)
        return LangevinState(
            i=state.i + 1,
            z=keep(z, state.z),
            displacement=u,
            step_size=step_size,
            noise_variance=variance,
            potential_energy=keep(energy, state.potential_energy),
            kinetic_temperature=temperature,
            mean_kinetic_temperature=mean,
            noise_fraction=self._mean_noise_fraction(step_size, variance),
            noise_eigenvalue=state.noise_eigenvalue,
            diverging=diverging,
            num_divergences=state.num_divergences + counted.astype(int),
            rng_key=key_next,
        )

    def _adapt(
        self, binding: Binding, data: Data, i, batched: bool, state: LangevinState
    ):
        key, key_adapt, key_u = random.split(state.rng_key, 3)
        burning = i < adaptation.burn_in_end(self._num_warmup)
        pack, unpack = packing(state.z)
        old = pack(state.noise_variance)
        step_size, variance = adaptation.adapt(
            key_adapt,
            self.dynamics,
            binding.gradient(data, unpack),
            pack(state.z),
            jax.tree.map(lambda v: jnp.where(i == 0, jnp.nan, v), old),
            jnp.where(burning, self._burn_in_fraction, self._noise_fraction),
            self._noise_batches(binding),
            self._variance_weight(binding, i),
            _pool if batched else lambda tree, how: tree,
        )
        u = self.dynamics.draw_displacement(key_u, step_size)
        return state._replace(
            displacement=unpack(u),
            step_size=unpack(step_size),
            noise_variance=unpack(variance),
            rng_key=key,
        )

    def _measure_eigenvalue(self, binding: Binding, data: Data, state: LangevinState):
        key, key_noise = random.split(state.rng_key)
        pack, unpack = packing(state.z)
        eigenvalue = adaptation.noise_eigenvalue(
            key_noise,
            self.dynamics,
            binding.gradient(data, unpack),
            pack(state.z),
            pack(state.step_size),
        )
        return state._replace(noise_eigenvalue=eigenvalue, rng_key=key)

    def postprocess_fn(self, model_args, model_kwargs):
        """Function from unconstrained draws to constrained values."""
        model_kwargs = {} if model_kwargs is None else model_kwargs
        binding = self._bind(tuple(model_args), model_kwargs)
        return binding.constrain_fn(binding.prepare(tuple(model_args), model_kwargs))

    def get_diagnostics_str(self, state):
        """Temperature, noise fraction and divergences, for the progress bar."""
        sampling = state.i > self._num_warmup
        t = state.mean_kinetic_temperature if sampling else state.kinetic_temperature
        noise = float(jnp.mean(state.noise_fraction))
        divergences = int(jnp.sum(state.num_divergences))
        return (
            f"temperature={float(jnp.mean(t)):.3g} noise={noise:.3g} "
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
                "a lower max_frequency or noise_fraction, a larger subsample_size, "
                "more warmup, or a parametrization with lighter tails.",
                stacklevel=3,
            )
