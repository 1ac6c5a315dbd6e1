# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Schedule of the warmup, in numbers of draws.

Before a few draws of the warmup (the *events*: the first, powers of two, half, three
quarters and nine tenths of it) the chain stops, measures the minibatch noise and the
curvature at its position, and sets new scales. In the first half of the warmup the
minibatches may supply more of the noise: the chain is then too hot but moves fast, as
it should on its way to the typical set.
"""

import jax.numpy as jnp
import numpy as np

__all__ = [
    "BURN_IN_FRACTION",
    "burn_in_end",
    "event_draws",
    "last_event",
    "variance_weight",
]

BURN_IN_FRACTION = 0.5
"""Noise fraction in the first half of warmup (or the user's, if that is larger)."""

SHORT_MEMORY = 100.0
"""Most minibatches averaged in the running noise variance in the first half."""


def event_draws(num_warmup: int) -> np.ndarray:
    """
    Draws before which the scales are set: the first, powers of two, then half, three
    quarters and nine tenths of the warmup. Between events they are constant.

    :param int num_warmup: number of warmup draws.
    """
    events = {0} | {int(f * num_warmup) for f in (0.5, 0.75, 0.9)}
    events |= {2**k for k in range(64) if 2**k <= num_warmup / 2}
    return np.array(sorted(events))


def last_event(num_warmup: int) -> int:
    """The draw before which the scales are set for the last time."""
    return int(event_draws(num_warmup)[-1])


def burn_in_end(num_warmup: int) -> int:
    """The first draw at which the noise fraction is the one the user asked for."""
    return int(0.5 * num_warmup)


def variance_weight(draw, num_warmup: int, num_steps: int, rate: float):
    """
    Number of minibatches that the running noise variance averages at a draw.

    The noise of a neural network depends on which points are badly fitted at the
    moment. Step sizes set from the noise at one moment leave some coordinates that the
    minibatches alone overheat at another. So between half and nine tenths of warmup the
    variance is averaged over that whole period. Before that it forgets quickly;
    afterwards it follows the chain at the user's rate.

    :param draw: number of the draw.
    :param int num_warmup: number of warmup draws.
    :param int num_steps: integrator steps per draw.
    :param float rate: weight per step of the newest value after warmup.
    """
    start, stop = burn_in_end(num_warmup), last_event(num_warmup)
    weight = min(SHORT_MEMORY, 1.0 / rate) + num_steps * jnp.maximum(draw - start, 0)
    return jnp.where(draw > stop, 1.0 / rate, weight)
