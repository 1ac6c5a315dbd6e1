# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What a kernel knows of a finished run besides its draws, for `report`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.kernels.slow_moves import steps_after_block
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.trees.arithmetic import leaf_names, row
from numpyro_pl.warmup.noise import estimate_noise
from numpyro_pl.warmup.schedule import Schedule
from numpyro_pl.warmup.settling import problems

__all__ = ["OF_EVERY_RUN", "Account", "KernelAccount", "warmup_problems"]

OF_EVERY_RUN = (
    "diverging",
    "potential_energy",
    "temperature",
    "kinetic_temperature",
    "noise_fraction",
)
"""Fields of the state that every run collects, a few numbers a draw."""

NOISE_BATCHES = 256
"""Minibatches at which the noise is measured afresh, of each chain."""


class Account(NamedTuple):
    """
    What a kernel knows of a finished run.

    - **kernel** - name of the kernel.
    - **model** - the model as the user gave it; None for a `potential_fn`.
    - **groups** - names of the groups of parameters.
    - **group_of** - number of the group of each latent site, by name.
    - **num_steps** - gradients of one draw of one chain.
    - **noise_eigenvalue** - largest eigenvalue of the noise covariance in units of the
      thermostat's noise, of each chain.
    - **fresh_noise** - function (rng_key, data) -> noise fractions measured at the last
      draws, of shape (chain, group).
    - **tracks_noise** - whether each group tracks the variance of its noise. This and
      the next two are None if the kernel does not know any more, after unpickling.
    - **is_balanced** - whether friction from the examples balances the covariance of
      the noise.
    - **problems** - what was wrong at the end of the warmup, one sentence for each.
    """

    kernel: str
    model: Callable | None
    groups: list[str]
    group_of: dict[str, int]
    num_steps: int
    noise_eigenvalue: np.ndarray
    fresh_noise: Callable[[jax.Array, Any], np.ndarray]
    tracks_noise: list[bool] | None = None
    is_balanced: bool | None = None
    problems: list[str] | None = None


class KernelAccount:
    """The part of a kernel that gives account of a finished run."""

    _model: Any
    _bindings: Any
    _schedule: Any
    _run: Any
    _bind: Any
    _groups: Any

    def account(self, state: LangevinState) -> Account:
        """
        What this kernel knows of a finished run besides its draws, for
        :func:`~numpyro_pl.diagnostics.report`.

        :param LangevinState state: the last state of one chain or of several.
        """
        state, plan = _with_chains(state), self._schedule
        z = row(state.z, 0)
        names = leaf_names(z)
        groups = list(getattr(self, "partition", ())) or ["all parameters"]
        known = Account(
            kernel=type(self).__name__,
            model=self._model,
            groups=groups if len(groups) > 1 else ["all parameters"],
            group_of=dict(zip(names, self._groups(names), strict=True)),
            num_steps=_steps_of_a_draw(plan, state),
            noise_eigenvalue=np.asarray(state.noise_eigenvalue, float),
            fresh_noise=lambda rng_key, data: self._fresh_noise(state, rng_key, data),
        )
        if not self._bindings:  # after unpickling
            return known
        binding = next(reversed(self._bindings.values()))
        run = self._run(binding, ((), {}), z)
        measured = state.settling, state.noise_fraction
        sizes = np.atleast_1d(run.layout.sizes)
        possible = binding.has_friction
        sets_steps = run.framing is not None and run.framing.sets_steps
        return known._replace(
            num_steps=_steps_of_a_draw(plan, state, sets_steps),
            tracks_noise=[bool(m.tracks_noise) for m in run.dynamics.members],
            is_balanced=bool(run.dynamics.uses_friction and possible),
            problems=warmup_problems(run.dynamics, sizes, measured, run.compared)
            if plan.num_warmup
            else [],
        )

    def _fresh_noise(
        self, state: LangevinState, rng_key: jax.Array, data: tuple
    ) -> np.ndarray:
        """
        Noise fractions measured at the last draws from fresh minibatches. A chain whose
        running estimate differs from them compensates for another noise than it has.

        :param LangevinState state: the last state of the chains.
        :param rng_key: a PRNG key.
        :param data: arguments of the model.
        :return: array of shape (chain, group).
        """

        def measure(key, state):
            run = self._run(*self._bind(*data), state.z)
            position = run.layout_in(state.frame).pack(state.z)
            gradient = run.gradient(state.frame)
            noise = estimate_noise(key, gradient, position, NOISE_BATCHES)
            found = run.dynamics_of(state).mean_noise_shares(state.scales, noise)
            return jnp.atleast_1d(found)

        keys = random.split(rng_key, state.i.shape[0])
        # What a state carries of the data has no axis of chains.
        state = state._replace(carried=())
        return np.asarray(jax.jit(jax.vmap(measure))(keys, state))


def _steps_of_a_draw(
    plan: Schedule, state: LangevinState, set_by_frame: bool = False
) -> int:
    """
    The usual number or that of the frame, as many times as the warmup has set, and
    those along slow directions.
    """
    steps = plan.draw_steps
    if set_by_frame:
        steps = int(np.max(state.frame.num_steps))
    steps *= int(np.max(state.settling.stretch))
    if state.slow and np.any(state.slow.vectors):
        steps += plan.blocks_per_draw * steps_after_block(plan)
    return steps


def _with_chains(state: LangevinState) -> LangevinState:
    """The state with a leading axis of chains."""
    if np.ndim(state.i) > 0:
        return state
    return jax.tree.map(lambda x: x[None], state)


def warmup_problems(
    dynamics: Partition, sizes: np.ndarray, measured: tuple, sites: tuple[str, ...]
) -> list:
    """
    What was wrong at the end of a warmup, one sentence for each.

    :param Partition dynamics: the dynamics of each group.
    :param sizes: number of coordinates of each group.
    :param measured: record and noise fraction of one chain or of several.
    :param sites: names of the sites in the record.
    """
    allowed = np.array([_allowed_noise(m) for m in dynamics.members])
    if np.ndim(measured[1]) == (0 if len(sizes) == 1 else 1):
        measured = jax.tree.map(lambda x: np.asarray(x)[None], measured)
    record, noise = measured
    return problems(record, noise, allowed, sizes, sites)


def _allowed_noise(dynamics) -> float:
    """The noise fraction asked for; no bound where the user has set the steps."""
    fraction = dynamics.noise_fraction
    return fraction if dynamics.warmup_sets_scales and fraction else np.inf
