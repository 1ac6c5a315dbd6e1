# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Langevin dynamics with unit masses (arXiv:1908.11843).

Units are those of the paper: the dynamics moves in :math:`U / N` at temperature
:math:`\tau = T / N` with unit masses, where :math:`N` is the number of data, so that
its step sizes and frictions carry over; `temperature=1` is the posterior. The maps of a
step of length :math:`h` are

.. math::

    A:\; x \mathrel{+}= h p, \quad B:\; p \mathrel{-}= h \nabla U / N, \quad
    O:\; p = c p + \sqrt{(1 - c^2) \tau} R \;\text{ with }\; c = e^{-\gamma h} .

In the code they act on the displacement :math:`u = h p`, whose thermal variance is
:math:`a T` with :math:`a = h^2 / N`. A step begins with the kick
:math:`w = u - a \nabla U`, turns it into the next displacement :math:`u'`, and moves by
:math:`(w + u') / 2`, so that the gradient is always taken where the draw is read.
"""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.unit_mass import UnitMass
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.trees.checks import check_positive

__all__ = ["Langevin", "OverdampedLangevin", "drifted"]


def drifted(position: Tree, kicked: Tree, displacement: Tree) -> Tree:
    """The position after two half drifts, one before and one after the bath."""
    return jax.tree.map(
        lambda x, w, u: x + 0.5 * (w + u), position, kicked, displacement
    )


@dataclass(frozen=True)
class Langevin(UnitMass):
    """
    Langevin dynamics: kick, half drift, friction and noise, half drift (`B A O A`).
    Second order, and exact for harmonic targets. Applied to all parameters it is SGHMC.

    :param float friction: friction in units of inverse time, > 0. If the warmup sets
        the step size, this is a lower bound: noise may require more.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length h of this group, in units of time where the
        potential is `U / N`; None: the kernel's.
    :param float noise_fraction: upper bound, used by the warmup, on the share by which
        minibatches heat this group; None: the kernel's.
    :param float max_frequency: upper bound, used by the warmup, on the frequency of
        every mode, in radians per step; None: the kernel's.
    :raises ValueError: if a setting is out of range.
    """

    friction: float = 0.1
    temperature: float = 1.0
    step_size: float | None = None
    noise_fraction: float | None = None
    max_frequency: float | None = None
    data_size: float = field(default=1.0, kw_only=True, repr=False)

    def __post_init__(self):
        super().__post_init__()
        check_positive("friction", self.friction)

    @property
    def least_friction(self):
        """The friction; it is raised only if the warmup sets the step size."""
        return self.friction

    def step(self, increments, position, momentum, gradient, scales, noise_variance):
        """One step, from one gradient to the next."""
        c = self.kept_momentum(scales)
        sd = jnp.sqrt((1 - c * c) * self.rate(scales) * self.temperature)
        kicked = self.kicked(momentum, gradient, scales)
        thermal = increments.white(momentum, sd)
        momentum = jax.tree.map(lambda w, r: c * w + r, kicked, thermal)
        return drifted(position, kicked, momentum), momentum


@dataclass(frozen=True)
class OverdampedLangevin(Langevin):
    """
    Overdamped Langevin dynamics by Leimkuhler and Matthews (2013): an Euler step of
    length `h^2 / 2` with the mean of two successive noise terms; exact for harmonic
    targets. Applied to all parameters it is SGLD.

    It is Langevin dynamics with infinite friction: a step keeps no momentum.

    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length h of this group, see :class:`Langevin`.
    :param float noise_fraction: see :class:`Langevin`.
    :param float max_frequency: see :class:`Langevin`.
    """

    friction: float = field(default=math.inf, init=False)

    max_step_friction = 1.0

    def __post_init__(self):
        UnitMass.__post_init__(self)

    def kept_momentum(self, scales):
        """Zero: no momentum is kept."""
        return jnp.zeros_like(scales.step_size)
