# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Warnings that a run gives by itself. NumPyro's `MCMC` has no hook at the end of warmup
or of a run, so compiled programs call back when there is something to say.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from numpyro_pl.kernels.account import warmup_problems
from numpyro_pl.kernels.placement import chains_together
from numpyro_pl.kernels.run import Run
from numpyro_pl.kernels.state import LangevinState
from numpyro_pl.warmup.frame import has_left
from numpyro_pl.warmup.settling import (
    BAD_SHARE,
    warn_of_distance,
    warn_of_divergences,
    warn_unless_settled,
)

__all__ = ["report", "say_if", "shown"]

FIRST_CHECK = 50
"""Draws after warmup at which the distance from the anchor is looked at first."""

FEWEST_DIVERGENCES = 5
"""Divergences from which a run warns, and again each time their number has doubled."""


def report(run: Run, i, state: LangevinState) -> None:
    """
    Warn after the last draw of the warmup if the chains have not settled, and later if
    more than a few in a hundred draws diverge.

    :param Run run: what a draw depends on.
    :param i: number of the draw.
    :param LangevinState state: state of the chain or chains after it.
    """
    num_warmup, shards = run.schedule.num_warmup, run.binding.potential.shards
    state = chains_together(shards, state.rng_key, state)
    dynamics, sizes = run.dynamics, np.atleast_1d(run.layout.sizes)

    def settled(*measured):
        warn_unless_settled(warmup_problems(dynamics, sizes, measured, run.compared))

    if num_warmup:
        say_if(i == num_warmup - 1, settled, state.settling, state.noise_fraction)

    if run.is_white:
        _report_distance(i - num_warmup, state)

    # The total of the chains, and whether it has just reached 5, 10, 20, ...
    total = jnp.sum(state.num_divergences)
    new = jnp.sum(state.diverging)
    num_draws = (i + 1 - num_warmup) * state.num_divergences.size
    doublings = FEWEST_DIVERGENCES * 2 ** jnp.arange(20)
    crossed = jnp.any((total >= doublings) & (total - new < doublings))
    many = (i >= num_warmup) & crossed & (total > BAD_SHARE * num_draws)
    say_if(many, lambda *n: warn_of_divergences(*map(int, n)), total, num_draws)


def _report_distance(draw, state: LangevinState) -> None:
    """
    Warn if chains have left the neighbourhood of their anchor: 50, 100, 200, ... draws
    after warmup.

    :param draw: number of the draw since the end of warmup.
    """
    batched = jnp.ndim(state.i) > 0
    left = jax.vmap(has_left) if batched else has_left
    num = jnp.sum(left(state.frame, state.noise_variance))
    checked = jnp.any(draw == FIRST_CHECK * 2 ** jnp.arange(16))
    say_if(checked & (num > 0), lambda n: warn_of_distance(int(n)), num)


def say_if(condition, say: Callable[..., None], *values) -> None:
    """
    Call back from a compiled program where a condition holds.

    :param condition: a boolean scalar.
    :param say: function of the values, run on the host.
    :param values: arrays.
    """

    def asked(holds, *values):
        # Under a user's `vmap` both branches run, and so this is asked again.
        if holds:
            say(*values)

    lax.cond(
        condition,
        lambda: jax.debug.callback(asked, condition, *values),
        lambda: None,
    )


def shown(state: LangevinState, stage: str) -> str:
    """
    Stage, temperature, noise and divergences, and how many times longer draws are than
    usual, for the progress bar.

    :param LangevinState state: state of the chain or chains.
    :param str stage: what the run is doing.
    """
    sampling = stage == "sampling"
    t = state.mean_kinetic_temperature if sampling else state.kinetic_temperature
    values = np.asarray(t).mean(0) if np.ndim(state.i) > 0 else np.asarray(t)
    temperatures = ",".join(f"{t:.3g}" for t in np.atleast_1d(values))
    noise = float(jnp.mean(state.noise_fraction))
    divergences = int(jnp.sum(state.num_divergences))
    stretch = int(np.max(state.settling.stretch))
    longer = f" steps=x{stretch}" if stretch > 1 else ""
    return (
        f"{stage} temperature={temperatures} noise={noise:.3g} "
        f"divergences={divergences:d}{longer}"
    )
