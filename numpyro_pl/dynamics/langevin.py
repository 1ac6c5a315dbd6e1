# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Langevin dynamics of a group of parameters (arXiv:1908.11843): the members of a
partition, which all take the same minibatch gradient.

Units are those of the paper: the dynamics moves in :math:`U / N` at temperature
:math:`\tau = T / N` with unit masses, where :math:`N` is the number of data, so that
its step sizes and frictions carry over; `temperature=1` is the posterior. The maps of a
step of length :math:`h` are

.. math::

    A:\; x \mathrel{+}= h p, \quad B:\; p \mathrel{-}= h \nabla U / N, \quad
    O:\; p = c p + \sqrt{(1 - c^2) \tau} R \;\text{ with }\; c = e^{-\gamma h},

    C:\; p \mathrel{*}= e^{-h \xi}, \quad D:\; p \mathrel{+}= \sigma \sqrt{h} R, \quad
    E:\; \xi \mathrel{+}= h \epsilon (p \cdot p - n \tau) .

In the code they act on the displacement :math:`u = h p`, whose thermal variance is
:math:`a T` with :math:`a = h^2 / N`. Every dynamics begins with the kick
:math:`w = u - a \nabla U`, makes of it the next displacement :math:`u'`, and moves by
:math:`(w + u') / 2`, so that the gradient is always taken where the draw is read.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from numpyro_pl._arguments import check_positive
from numpyro_pl._sizes import size_of
from numpyro_pl.dynamics.unit_mass import (
    UnitMass,
    kinetic_share,
    squared_norm,
    white_noise,
)

__all__ = ["AdaptiveLangevin", "Langevin", "OverdampedLangevin"]

Tree = Any

ADAPTIVE_STEP = 0.05
"""Bound on `h^2 n epsilon tau`: its thermostat swings by `sqrt(2 * this)` radians a
step. A faster one is unstable; no speed changes what is sampled."""


def _move(x: Tree, kicked: Tree, u: Tree) -> Tree:
    return jax.tree.map(lambda x, w, u: x + 0.5 * (w + u), x, kicked, u)


@dataclass(frozen=True)
class Langevin(UnitMass):
    """
    Langevin dynamics, half drift, friction and noise, half drift, kick (`A O A B`): of
    second order, and exact for harmonic targets. Alone it is SGHMC.

    :param float friction: friction in units of inverse time, > 0; where the warmup sets
        the step size, the least friction: noise may demand more.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length of this group alone.
    """

    friction: float = 0.1
    temperature: float = 1.0
    step_size: float | None = None
    data_size: float = field(default=1.0, kw_only=True, repr=False)
    max_frequency: float = field(default=0.5, kw_only=True, repr=False)

    def __post_init__(self):
        super().__post_init__()
        check_positive("friction", self.friction)

    @property
    def least_friction(self):
        """The friction, raised only where the warmup sets the step size."""
        return self.friction

    def advance(self, rng_key, t, x, u, grad, step_size, variance, noise):
        """One step, from one gradient to the next."""
        c = self.decay(step_size)
        sd = jnp.sqrt((1 - c * c) * self._rate(step_size) * self.temperature)
        w = self.kicked(u, grad, step_size)
        kicks = white_noise(noise, rng_key, u, sd, t)
        u = jax.tree.map(lambda w, r: c * w + r, w, kicks)
        return _move(x, w, u), u


@dataclass(frozen=True)
class OverdampedLangevin(Langevin):
    """
    Overdamped Langevin dynamics by Leimkuhler and Matthews (2013): an Euler step of
    length `h^2 / 2` with the mean of two successive noises; exact for harmonic targets.
    Alone it is SGLD.

    It is Langevin dynamics whose friction keeps nothing of the momentum.

    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length h of this group alone.
    """

    friction: float = field(default=math.inf, init=False)

    most_noise = 1.0

    def __post_init__(self):
        UnitMass.__post_init__(self)

    def decay(self, step_size):
        """Nothing is kept of the momentum."""
        return jnp.zeros_like(step_size[0])


@dataclass(frozen=True)
class AdaptiveLangevin(UnitMass):
    r"""
    Adaptive Langevin dynamics (Jones and Leimkuhler 2011; Ding et al. 2014): the
    friction is a variable that a thermostat drives until the momentum has the target
    temperature, and so absorbs gradient noise of unknown strength, if it is white and
    alike in all coordinates of the group. Alone it is SGNHT.

    :param float sigma: strength of the noise that is added, in the units above, >= 0.
        Default: `sqrt(tau)`, which without gradient noise is a friction of 0.5 (the
        published 0.01 at `tau = 1e-4`); where the warmup sets the step size, it may
        take more.
    :param float coupling: speed of the thermostat, epsilon, > 0. Lowered for large
        groups, where it would be unstable; it has no part in what is sampled.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length of this group alone.
    """

    sigma: float | None = None
    coupling: float = 0.05
    temperature: float = 1.0
    step_size: float | None = None
    data_size: float = field(default=1.0, kw_only=True, repr=False)
    max_frequency: float = field(default=0.5, kw_only=True, repr=False)

    has_thermostat = True
    num_streams = 2
    # Lower than for others: the splitting is coarse where the friction of a step is.
    most_noise = 0.25

    def __post_init__(self):
        super().__post_init__()
        check_positive("coupling", self.coupling)
        if self.sigma is not None and self.sigma != 0:
            check_positive("sigma", self.sigma)

    @property
    def tau(self) -> float:
        """Temperature in units of `U / N`."""
        return self.temperature / self.data_size

    @property
    def least_friction(self) -> float:
        """The friction that balances the added noise alone."""
        return 0.5 if self.sigma is None else 0.5 * self.sigma**2 / self.tau

    def initial_thermostat(self) -> float:
        """The friction that balances the added noise alone."""
        return self.least_friction

    def adapted_thermostat(self, thermostat, step_size):
        """That friction again, where the warmup has set it."""
        return thermostat if self.step_size is not None else step_size[1]

    def advance(self, rng_key, t, x, u, grad, step_size, variance, noise):
        """One step; `u` is the pair of displacement and thermostat."""
        u, thermostat = u
        h, friction = step_size
        n = size_of(u)
        limit = ADAPTIVE_STEP / (h * h * n * self.tau)
        coupling = jnp.minimum(self.coupling, limit)
        # Sigma is sqrt(2 friction tau); each of the two noises has half of its square.
        sd = h * jnp.sqrt(friction * self.tau * h)
        w = self.kicked(u, grad, step_size)
        first = white_noise(noise, rng_key, u, sd, t)
        second = white_noise(noise, rng_key, u, sd, t + 1)
        c = jnp.exp(-0.5 * h * thermostat)
        middle = jax.tree.map(lambda w, r: c * w + r, w, first)
        k = kinetic_share(jnp.clip(c * c, 0.0, 1.0))
        gap = ((1 - k) * squared_norm(u) + k * squared_norm(w)) / (h * h) - n * self.tau
        thermostat = thermostat + h * coupling * gap
        c = jnp.exp(-0.5 * h * thermostat)
        u = jax.tree.map(lambda m, r: c * (m + r), middle, second)
        return _move(x, w, u), (u, thermostat)
