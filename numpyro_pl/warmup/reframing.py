# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
An event of the warmup of a chain that has a frame: the frame is set anew.

Models with many more rows than coordinates are nearly normal: the curvature hardly
changes over the posterior, and relative to an anchor the minibatch noise is small. So a
few times during the warmup the anchor is moved to the mean of the chain's draws, the
coordinates are whitened by the curvature, and the noise is measured with and without
the anchor where the chain will be: at its last draws or, before there are enough of
them, at thermal displacements from the mean.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.trees.arithmetic import Tree, sum_of
from numpyro_pl.trees.increments import tree_normal
from numpyro_pl.trees.random_bits import fold_in
from numpyro_pl.warmup.axes import hidden_curvature, whitening
from numpyro_pl.warmup.frame import (
    MOST_KICK,
    NUM_PLACES,
    Frame,
    FrameSettings,
    Seen,
)
from numpyro_pl.warmup.pace import at_pace, relaxation_steps
from numpyro_pl.warmup.pooling import OneChain

__all__ = ["Target", "White", "anchored_anew", "noise_concentration", "whitened_anew"]

NOISE_BATCHES = 128
"""Minibatches from which the noise is taken, with and without the anchor."""

LEAST_GAIN = 2.0
"""Ratio of the noise without an anchor to that with it from which it is used: it costs
a second gradient."""


class Target(NamedTuple):
    """
    What a frame is set for.

    - **full** - function of a position in the model's coordinates -> (potential,
      gradient) on the full data.
    - **hessian** - function of a position -> Hessian of the potential on the full data.
    - **gradient** - function of a frame -> minibatch gradient in its coordinates; plain
      and in the model's coordinates without a frame.
    - **sampled** - share of the rows that a minibatch has; 0 with several plates.
    - **max_frequency** - bound on the frequency of the dynamics, in radians per step.
    - **temperature** - temperature of the target.
    """

    full: Callable
    hessian: Callable
    gradient: Callable
    sampled: float
    max_frequency: float
    temperature: Any


class White(NamedTuple):
    """
    A frame whose coordinates are whitened, and what was measured in them.

    - **frame** - the frame.
    - **noise** - two independent estimates of the covariance of the minibatch noise
      where the chain will be, shape (2, n, n).
    - **steepest** - largest curvature that any chain has met; 1 on average.
    """

    frame: Frame
    noise: jax.Array
    steepest: jax.Array


def anchored_anew(frame: Frame, settings: FrameSettings, position: Tree, target):
    """
    The frame with the anchor at the mean of the chain's draws since it was last set, or
    at the position if there were none.

    :param Frame frame: the frame so far.
    :param FrameSettings settings: what it is to have.
    :param position: the chain's position, in the model's coordinates.
    :param Target target: what it is set for.
    """
    if not settings.moving:
        return frame
    seen = frame.seen.num_draws > 0
    center = jax.tree.map(
        lambda m, x: jnp.where(seen, m, x), frame.seen.mean(), position
    )
    frame = frame._replace(
        center=center, seen=Seen.none(position, settings.axes is not None)
    )
    if settings.anchored == "never":
        return frame
    energy, slope = target.full(center)
    frame = frame._replace(energy=energy, slope=slope)
    if settings.axes is None:
        # At the anchor itself there is no noise from which steps could be set.
        frame = frame._replace(share=seen.astype(frame.share.dtype))
    return frame


def whitened_anew(
    rng_key: jax.Array,
    frame: Frame,
    settings: FrameSettings,
    position: Tree,
    target: Target,
    chains: OneChain,
) -> White:
    """
    The frame with an anchor, axes and a pace set anew.

    :param rng_key: a PRNG key.
    :param Frame frame: the frame so far.
    :param FrameSettings settings: what it is to have.
    :param position: the chain's position, in the model's coordinates.
    :param Target target: what it is set for.
    :param OneChain chains: how measurements are pooled over the chains of the run.
    """
    slowest, seen = relaxation_steps(frame, settings, chains), frame.seen
    frame = anchored_anew(frame, settings, position, target)
    both = jax.tree.map(lambda c, x: jnp.stack([c, x]), frame.center, position)
    # Mapped, so that the Hessian is compiled once.
    hessians = lax.map(target.hessian, both)
    at_center, own = jnp.where(jnp.isfinite(hessians), hessians, 0.0)
    # Steps must fit where chains are, not only where their anchors are, so the axes are
    # those of the curvature there, averaged over chains and events.
    here, eye = chains.mean(own), jnp.eye(len(own), dtype=own.dtype)
    before = frame.inverse.T @ frame.inverse
    known = jnp.any(frame.basis != eye)
    matrix = jnp.where(known, 0.5 * (here + before), here)
    basis, inverse = whitening(matrix * settings.axes)
    frame = frame._replace(curvature=at_center, basis=basis, inverse=inverse)
    places = _places(rng_key, frame, seen, target)
    noises = _noises(partial(_noise, rng_key, target, places), frame, settings)
    # Not at first: far from where the model fits, gradients are larger than curvature.
    hidden = jnp.where(known, _hidden(noises, frame, settings, target, here, chains), 0)
    frame, noises = _with_hidden(here, hidden, frame, settings, noises)
    own += hidden
    steepest = jnp.max(jnp.linalg.eigvalsh(frame.basis.T @ own @ frame.basis))
    frame, noise = _with_share(noises, frame, settings, chains)
    variance = chains.mean(jnp.trace(noise[0] + noise[1]) / (2 * len(basis)))
    rate = target.temperature * MOST_KICK / jnp.maximum(variance, 1e-12)
    frequency = jnp.minimum(jnp.sqrt(rate), target.max_frequency)
    frame = at_pace(frame, settings, frequency, slowest)
    return White(frame, noise, chains.largest(steepest))


def _places(rng_key, frame: Frame, seen: Any, target: Target) -> jax.Array:
    """Where the noise is measured, in whitened coordinates: shape (places, n)."""
    spread = jnp.sqrt(target.temperature).astype(frame.basis.dtype)
    shape = jnp.zeros((NUM_PLACES, len(frame.basis)), frame.basis.dtype)
    thermal = spread * tree_normal(fold_in(rng_key, 1), shape)
    if not seen:
        return thermal
    drawn = (seen.places[0] - frame.center[0]) @ frame.inverse.T
    return jnp.where(seen.num_draws >= NUM_PLACES, drawn, thermal)


SHARES = {"never": (0.0,), "always": (1.0,), "auto": (0.0, 1.0)}
"""Shares of the anchor of which one is chosen, by the setting."""


def _noises(noise_in: Callable, frame: Frame, settings: FrameSettings) -> jax.Array:
    """The noise with each share of the anchor, shape (shares, 2, n, n)."""
    shares = jnp.asarray(SHARES[settings.anchored], frame.share.dtype)
    return lax.map(lambda share: noise_in(frame._replace(share=share)), shares)


def _hidden(
    noises, frame: Frame, settings, target: Target, hessian: jax.Array, chains
) -> jax.Array:
    """Curvature in the model's coordinates that only the gradients of rows show."""
    if settings.anchored == "always":
        return jnp.zeros_like(frame.curvature)
    rows = chains.mean(0.5 * (noises[0, 0] + noises[0, 1])) * target.sampled
    # Of few minibatches, correlations are not to be trusted.
    trust = NOISE_BATCHES / (NOISE_BATCHES + len(rows))
    rows = trust * rows + (1 - trust) * jnp.diag(jnp.diagonal(rows))
    rows = frame.inverse.T @ rows @ frame.inverse
    return hidden_curvature(hessian, rows, settings.axes)


def _with_hidden(
    hessian: jax.Array, hidden: jax.Array, frame: Frame, settings, noises
) -> tuple[Frame, jax.Array]:
    """The frame with other axes, if there is hidden curvature, and the noise in it."""
    basis, inverse = whitening((hessian + hidden) * settings.axes)
    turn = frame.inverse @ basis
    found = jnp.any(hidden != 0)
    frame = frame._replace(
        basis=jnp.where(found, basis, frame.basis),
        inverse=jnp.where(found, inverse, frame.inverse),
    )
    return frame, jnp.where(found, turn.T @ noises @ turn, noises)


def _with_share(noises: jax.Array, frame, settings, chains) -> tuple[Frame, jax.Array]:
    """The frame with or without its anchor, whichever the settings or the noise say."""
    shares = jnp.asarray(SHARES[settings.anchored], frame.share.dtype)
    if len(shares) == 1:
        return frame._replace(share=shares[0]), noises[0]
    without, relative = (chains.mean(jnp.trace(n[0] + n[1])) for n in noises)
    better = relative * LEAST_GAIN < without
    share = jnp.where(better, shares[1], shares[0])
    plain = (without / (2 * len(frame.basis))).astype(frame.plain_noise.dtype)
    frame = frame._replace(share=share, plain_noise=plain)
    return frame, jnp.where(better, noises[1], noises[0])


def _noise(rng_key, target: Target, places: jax.Array, frame: Frame) -> jax.Array:
    """Two estimates of the noise covariance, the mean over the places."""
    gradient = target.gradient(frame)
    if gradient.halves is None:
        return jnp.zeros((2, *frame.basis.shape), frame.basis.dtype)
    batches = gradient.draw_batches(rng_key, NOISE_BATCHES)

    def at(t):
        place = places[(t // 2) % NUM_PLACES]
        halves = gradient.halves((place,), gradient.batch_at(batches, t))
        half = 0.5 * gradient.fraction**0.5 * (halves[0][0] - halves[1][0])
        return (jnp.arange(2) == t % 2)[:, None, None] * jnp.outer(half, half)

    noise = sum_of(at, NOISE_BATCHES) / (NOISE_BATCHES / 2)
    return jnp.where(jnp.isfinite(noise), noise, 0.0)


def noise_concentration(
    noise: jax.Array, dynamics: Partition, scales: Tree
) -> jax.Array:
    """
    Largest eigenvalue of the noise covariance in units of the thermostat's noise: its
    direction from one estimate, its size from the other, since the largest eigenvalue
    of one estimate is too large.

    :param noise: two estimates, shape (2, n, n).
    :param Partition dynamics: the dynamics.
    :param scales: their scales.
    """
    ones = (jnp.ones_like(noise[0, 0]),)
    (share,) = dynamics.noise_shares(scales, ones)
    root = jnp.sqrt(share)
    first, second = noise * root * root[:, None]
    vector = jnp.linalg.eigh(first)[1][:, -1]
    return vector @ second @ vector
