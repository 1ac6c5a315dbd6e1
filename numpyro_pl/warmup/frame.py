# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The frame in which a chain moves: an anchor for its gradients, whitened coordinates, and
the friction and the number of steps that belong to them. How it is set:
:mod:`numpyro_pl.warmup.reframing`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.trees.arithmetic import Tree, mean_of

__all__ = [
    "MOST_KICK",
    "NUM_PLACES",
    "Frame",
    "FrameSettings",
    "Seen",
    "first_frame",
    "has_left",
    "is_white",
    "largest_noise_fraction",
]

MOST_KICK = 0.01
"""Largest variance of the momentum that minibatches may add in one step, relative to
its thermal variance. Noise that varies with the position is balanced only as far as it
is small: where it was 0.09, with frictions of 0.3 per step, the scale of a hierarchical
regression had 0.78 of its standard deviation; where it was 0.007, 0.98."""


class FrameSettings(NamedTuple):
    """
    What a frame is to have.

    - **anchored** - `"always"`, `"never"`, or `"auto"` where the noise decides.
    - **moving** - whether the center follows the chain, as it does unless the user has
      given an anchor.
    - **axes** - None where coordinates are not whitened, else a matrix of zeros and
      ones: which pairs of coordinates may be mixed.
    - **sets_friction**, **sets_steps** - whether the warmup sets them.
    - **num_steps** - most steps of a draw.
    """

    anchored: str
    moving: bool
    axes: Any
    sets_friction: bool
    sets_steps: bool
    num_steps: int


def is_white(settings: FrameSettings | None) -> bool:
    """Whether the dynamics move whitened coordinates."""
    return settings is not None and settings.axes is not None


NUM_PLACES = 16
"""Draws that are remembered as places where the chain may be."""


class Seen(NamedTuple):
    """
    What a chain's draws were like. Trees are in the model's coordinates, by group.

    - **num_draws** - number of draws.
    - **first** - the first of them, from which the others are counted.
    - **last** - the last of them.
    - **sum**, **square**, **product** - sums of the draws, of their squares, and of the
      products of two successive ones.
    - **places** - the last draws, with a leading axis.

    **last**, **square**, **product** and **places** are empty where coordinates are not
    whitened.
    """

    num_draws: jax.Array
    first: Tree
    last: Tree
    sum: Tree
    square: Tree
    product: Tree
    places: Tree

    @classmethod
    def none(cls, like: Tree, white: bool) -> "Seen":
        """
        Before the first draw.

        :param like: a position.
        :param bool white: whether coordinates are whitened.
        """
        zeros = jax.tree.map(jnp.zeros_like, like)
        pairs: Any = zeros if white else ()
        places = jax.tree.map(lambda x: jnp.tile(x, (NUM_PLACES, 1)), pairs)
        return cls(jnp.zeros((), int), like, pairs, zeros, pairs, pairs, places)

    def with_draw(self, position: Tree, counts) -> "Seen":
        """
        With one more draw.

        :param position: the draw.
        :param counts: whether it counts.
        """
        x = jax.tree.map(jnp.subtract, position, self.first)
        add = counts.astype(int)

        def added(total, value):
            return total + jnp.where(counts, value, 0.0).astype(total.dtype)

        new = self._replace(
            num_draws=self.num_draws + add, sum=jax.tree.map(added, self.sum, x)
        )
        if not self.last:
            return new
        slot = self.num_draws % NUM_PLACES
        return new._replace(
            places=jax.tree.map(
                lambda p, a: p.at[slot].set(jnp.where(counts, a, p[slot])),
                self.places,
                position,
            ),
            last=jax.tree.map(lambda a, b: jnp.where(counts, a, b), x, self.last),
            square=jax.tree.map(lambda t, a: added(t, a * a), self.square, x),
            product=jax.tree.map(
                lambda t, a, b: added(t, a * b), self.product, x, self.last
            ),
        )

    def mean(self) -> Tree:
        """Mean of the draws; the first position without any."""
        num = jnp.maximum(self.num_draws, 1)
        return jax.tree.map(
            lambda x, t: x + (t / num).astype(x.dtype), self.first, self.sum
        )

    def autocorrelation(self) -> Tree:
        """Correlation of successive draws, per coordinate; 0 of a constant one."""
        num = jnp.maximum(self.num_draws, 2).astype(float)

        def of_coordinate(total, square, product):
            mean = total / num
            variance = square / num - mean**2
            # The first draw has no draw before it.
            covariance = product / (num - 1) - mean**2
            known = variance > 1e-6 * mean**2
            return jnp.where(known, covariance / jnp.where(known, variance, 1), 0.0)

        return jax.tree.map(of_coordinate, self.sum, self.square, self.product)


class Frame(NamedTuple):
    """
    The frame of a chain. Trees are in the model's coordinates, by group.

    - **center** - the anchor, and the origin of whitened coordinates.
    - **energy** - potential there on the full data, in nats.
    - **slope** - its gradient there.
    - **curvature** - its Hessian there; empty where coordinates are not whitened.
    - **share** - 1 where gradients are taken relative to the anchor, else 0.
    - **plain_noise** - mean noise variance without the anchor, in whitened coordinates;
      infinite if it was not measured.
    - **basis**, **inverse** - whitened coordinates y: those of the model are
      `center + basis @ y`. Empty where coordinates are not whitened.
    - **friction** - friction per step.
    - **num_steps** - steps of a draw.
    - **seen** - what the draws since the frame was last set were like; empty if the
      center does not follow the chain.
    """

    center: Tree
    energy: jax.Array
    slope: Tree
    curvature: Any
    share: jax.Array
    plain_noise: jax.Array
    basis: Any
    inverse: Any
    friction: jax.Array
    num_steps: jax.Array
    seen: Any


def has_left(frame: Frame, noise_variance: Tree) -> jax.Array:
    """
    Whether a chain is so far from its anchor that it has more noise than without.

    :param Frame frame: the frame of the chain.
    :param noise_variance: running variance of its noise, in its coordinates.
    """
    return (frame.share > 0) & (mean_of(noise_variance) > frame.plain_noise)


def first_frame(
    settings: FrameSettings, center: Tree, value: tuple, curvature, friction: float
) -> Frame:
    """
    The frame before the first draw: the model's own coordinates, and no anchor unless
    the user has given one.

    :param center: the start of the chain, or the anchor of the user.
    :param value: potential there on the full data, in nats, and its gradient.
    :param curvature: its Hessian there, None if no gradients are taken relative to the
        center yet.
    :param float friction: friction per step.
    """
    dtype = jnp.result_type(*jax.tree.leaves(center))
    given = settings.anchored == "always" and not settings.moving
    basis: Any = ()
    if settings.axes is not None:
        basis = jnp.eye(center[0].size, dtype=dtype)
    if curvature is None:
        curvature = jax.tree.map(jnp.zeros_like, basis)
    return Frame(
        center=center,
        energy=value[0],
        slope=value[1],
        curvature=curvature,
        share=jnp.asarray(float(given), dtype),
        plain_noise=jnp.asarray(jnp.inf, dtype),
        basis=basis,
        inverse=basis,
        friction=jnp.asarray(friction, dtype),
        num_steps=jnp.asarray(settings.num_steps, int),
        seen=Seen.none(center, settings.axes is not None) if settings.moving else (),
    )


def largest_noise_fraction(friction, noise_fraction) -> jax.Array:
    """
    The noise fraction that is asked for, or less: that at which minibatches add
    :data:`MOST_KICK` to the momentum in one step.

    :param friction: friction per step.
    :param noise_fraction: the noise fraction that is asked for.
    """
    return jnp.minimum(noise_fraction, MOST_KICK / (1 - jnp.exp(-2 * friction)))
