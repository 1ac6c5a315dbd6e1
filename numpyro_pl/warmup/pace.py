# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The friction and the number of steps of a draw in whitened coordinates, where all modes
have the same frequency.
"""

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.pieces import PIECE
from numpyro_pl.warmup.frame import Frame, FrameSettings
from numpyro_pl.warmup.pooling import OneChain

__all__ = ["at_pace", "relaxation_steps"]

LEAST_FRICTION, LEAST_OF_SLOWEST = 0.01, 0.02
"""Least friction per step, and where it is set for a slow coordinate. With less, the
bound on the noise fraction shortens the steps."""

FORGOTTEN = 5.0
"""Steps of a draw times friction. Whitened modes forget their past in `2 / friction`
steps or less, so draws are nearly independent."""

REMEMBERED, ENOUGH_DRAWS = 0.5, 30
"""Largest correlation of successive draws of any coordinate, and the number of draws of
each chain from which it is known well enough."""


def at_pace(
    frame: Frame, settings: FrameSettings, frequency: jax.Array, slowest: jax.Array
) -> Frame:
    """
    The frame with friction and steps of a draw.

    The friction is set to the frequency of the whitened modes, which then forget their
    past as fast as they can: less would let the energy last, more would slow the
    position down. Where the posterior is bent, so that one matrix does not describe
    it, a coordinate may be slower; if it forgets its past in t steps, its frequency is
    `sqrt(friction / t)`, and it moves fastest at a friction of twice that. With the
    scale of a non-centred hierarchy, which moves along a curved ridge, a friction of
    0.02 covered 3.5 times as much ground as 0.18.

    :param Frame frame: the frame so far, whose friction the draws had.
    :param FrameSettings settings: what it is to have.
    :param frequency: frequency of the whitened modes, in radians per step.
    :param slowest: see :func:`relaxation_steps`.
    """
    if settings.sets_friction:
        own = 2 * jnp.sqrt(frame.friction / jnp.maximum(slowest, 1.0))
        own = jnp.where(slowest > 0, jnp.maximum(own, LEAST_OF_SLOWEST), jnp.inf)
        friction = jnp.minimum(jnp.maximum(frequency, LEAST_FRICTION), own)
        frame = frame._replace(friction=friction.astype(frame.friction.dtype))
    if settings.sets_steps:
        steps = jnp.maximum(FORGOTTEN / frame.friction, -jnp.log(REMEMBERED) * slowest)
        steps = (PIECE * jnp.ceil(steps / PIECE)).astype(frame.num_steps.dtype)
        frame = frame._replace(num_steps=jnp.minimum(steps, settings.num_steps))
    return frame


def relaxation_steps(
    frame: Frame, settings: FrameSettings, chains: OneChain
) -> jax.Array:
    """
    Steps in which the slowest coordinate forgets its past, by the correlation of the
    draws since the frame was last set: it is `exp(-n / t)` after n steps. 0 if draws
    are nearly independent, or too few to tell.

    :param Frame frame: the frame of those draws.
    :param FrameSettings settings: what it is to have.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    if not settings.moving:
        return jnp.zeros(())
    (correlation,) = chains.mean(frame.seen.autocorrelation())
    slowest = jnp.clip(jnp.max(correlation), 0.01, 0.99)
    told = (frame.seen.num_draws >= ENOUGH_DRAWS) & (slowest > REMEMBERED)
    steps = -frame.num_steps / jnp.log(slowest)
    return chains.largest(jnp.where(told, steps, 0.0))
