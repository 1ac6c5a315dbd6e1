# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What all Langevin dynamics with one step size per group share: units, step size, kick
and temperature.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.protocol import (
    GroupDynamics,
    KernelDefaults,
    check_bounds,
    missing_settings,
    required,
)
from numpyro_pl.trees.arithmetic import Tree, mean_of, size_of, squared_norm
from numpyro_pl.trees.checks import check_positive
from numpyro_pl.trees.increments import Increments

__all__ = ["StepAndFriction", "UnitMass", "kinetic_share"]


def kinetic_share(kept):
    r"""
    Share of the kicked momentum's square in the kinetic temperature,
    :math:`k = (1 + 3c) / (4 (1 + c))`.

    A harmonic mode has exactly the temperature :math:`T` both before and after the
    kick. White gradient noise heats the two differently, and the position by an amount
    in between: the mean :math:`(1 - k) u^2 + k w^2` of the displacements before (u) and
    after (w) is as hot as the slow modes of the position.

    :param kept: share c of the momentum that a step keeps.
    """
    return (1 + 3 * kept) / (4 * (1 + kept))


class StepAndFriction(NamedTuple):
    """
    Scales of a group with unit masses, scalars.

    - **step_size** - step length h, in units of time where the potential is `U / N`.
    - **friction** - friction, in units of inverse time.
    """

    step_size: Any
    friction: Any


class UnitMass(GroupDynamics):
    """
    Base class of dynamics with unit masses and one step size for the whole group, in
    units of time where the potential is `U / N` (N data) and the temperature `T / N`.
    Subclasses define :meth:`step` and :attr:`least_friction`.

    The momentum is the displacement of the last step, `u = h p`; its thermal variance
    is `a T` with `a = h^2 / N`. Subclasses are frozen dataclasses with the fields

    - **temperature** - temperature T of the target; 1 is the posterior.
    - **step_size** - step length h. None: the kernel's; if that is None too, the warmup
      sets it.
    - **noise_fraction**, **max_frequency** - bounds for the warmup, see
      :class:`KernelDefaults`. None: the kernel's.
    - **data_size** - number N of data, set by the kernel.
    """

    step_size: float | None
    max_frequency: float | None
    data_size: float

    max_step_friction = 0.8
    """Bound on `tanh(friction h / 2)` if the noise sets the friction."""

    def __post_init__(self):
        check_bounds(self)
        if self.step_size is not None:
            check_positive("step_size", self.step_size)

    @property
    def least_friction(self) -> Any:
        """Friction from the user's setting, in units of inverse time."""
        raise NotImplementedError

    @property
    def warmup_sets_scales(self) -> bool:
        """Whether the user gave no step size."""
        return self.step_size is None

    def bind(self, defaults: KernelDefaults):
        """These dynamics, with the kernel's defaults for settings that are None."""
        missing = missing_settings(self, defaults)
        size = float(defaults.data_size)
        return replace(self, data_size=size, **missing)  # type: ignore[type-var]

    def choose_scales(self, noise_variance, curvature):
        """
        Step length h and friction. If the user gives no step length, h is the largest
        at which the steepest coordinate alone stays within the allowed frequency, and
        at which the minibatches, with the friction raised as needed, heat slow modes by
        at most the noise fraction.

        White noise of variance v heats them by `(h^2 v / 4 N T) coth(friction h / 2)`.
        At a fixed friction this bounds the step, and a weakly damped chain would be
        very slow; more friction costs nothing where the noise already limits the speed.
        """
        dtype = jnp.result_type(*jax.tree.leaves(noise_variance))
        least = jnp.asarray(self.least_friction, dtype)
        if self.step_size is not None:
            return StepAndFriction(jnp.asarray(self.step_size, dtype), least)
        steepest = jnp.max(jnp.stack([jnp.max(x) for x in jax.tree.leaves(curvature)]))
        bound = required(self, "max_frequency")
        by_curvature = bound * jnp.sqrt(self.data_size / steepest)
        allowed = required(self, "noise_fraction")
        room = 4 * allowed * self.temperature * self.data_size
        room = room / jnp.maximum(mean_of(noise_variance), 1e-30 * room)
        h = jnp.minimum(by_curvature, jnp.sqrt(self.max_step_friction * room))
        friction = jnp.maximum(2 * jnp.arctanh(h * h / room) / h, least)
        return StepAndFriction(h.astype(dtype), friction.astype(dtype))

    def shrink(self, scales: StepAndFriction, factor) -> StepAndFriction:
        """A shorter step, unless the user has set it."""
        if self.step_size is not None:
            return scales
        h = scales.step_size
        return scales._replace(step_size=h * jnp.sqrt(factor).astype(h.dtype))

    def squared_frequency(self, scales: StepAndFriction):
        """See :meth:`GroupDynamics.squared_frequency`."""
        if self.step_size is not None:
            return jnp.zeros_like(scales.step_size)
        return self.rate(scales) / required(self, "max_frequency") ** 2

    def noise_shares(self, scales: StepAndFriction, noise_variance: Tree) -> Tree:
        """Share by which the minibatches heat slow modes."""
        kept = self.kept_momentum(scales)
        rate = self.rate(scales) / self.temperature
        scale = rate * (1 + kept) / (4 * (1 - kept))
        return jax.tree.map(lambda v: scale * v, noise_variance)

    def draw_momentum(
        self, increments: Increments, scales, like: Tree, previous: Tree = None
    ):
        """A thermal displacement."""
        sd = jnp.sqrt(self.rate(scales) * self.temperature)
        return increments.white(like, sd)

    def kinetic_temperature(self, momentum, gradient: Tree, scales, noise_variance):
        """
        Kinetic temperature, a scalar: exact for harmonic targets, and as hot under
        white gradient noise as the slow modes of the position, see
        :func:`kinetic_share`.
        """
        kicked = self.kicked(momentum, gradient, scales)
        share = kinetic_share(self.kept_momentum(scales))
        square = self.mixed_square(momentum, kicked, share)
        return square / (self.rate(scales) * size_of(momentum))

    # For subclasses.

    def rate(self, scales: StepAndFriction):
        """Displacement by a unit gradient of U, `a = h^2 / N`."""
        return scales.step_size * scales.step_size / self.data_size

    def kept_momentum(self, scales: StepAndFriction):
        """Share c of the momentum that a step keeps."""
        return jnp.exp(-scales.friction * scales.step_size)

    def kicked(self, displacement: Tree, gradient: Tree, scales) -> Tree:
        """The displacement after the kick, `u - a g`."""
        a = self.rate(scales)
        return jax.tree.map(lambda u, g: u - a * g, displacement, gradient)

    @staticmethod
    def mixed_square(before: Tree, after: Tree, share) -> jax.Array:
        """Squared displacement, before and after the kick weighted by `share`."""
        return (1 - share) * squared_norm(before) + share * squared_norm(after)
