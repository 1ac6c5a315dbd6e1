# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Adaptive Langevin dynamics (arXiv:1908.11843), in the units of
:mod:`numpyro_pl.dynamics.langevin`. Its bath consists of the maps

.. math::

    C:\; p \mathrel{*}= e^{-h \xi}, \quad D:\; p \mathrel{+}= \sigma \sqrt{h} R, \quad
    E:\; \xi \mathrel{+}= h \epsilon (p \cdot p - n \tau)

in the order :math:`C_{1/2} D_{1/2} E D_{1/2} C_{1/2}`, with :math:`n` coordinates.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.langevin import drifted
from numpyro_pl.dynamics.unit_mass import UnitMass, kinetic_share
from numpyro_pl.trees.arithmetic import Tree, as_in, size_of, squared_norm
from numpyro_pl.trees.checks import check_not_negative, check_positive
from numpyro_pl.trees.increments import Increments

__all__ = ["AdaptiveLangevin", "ThermostattedMomentum"]

ADAPTIVE_STEP = 0.05
"""Bound on `h^2 n epsilon tau`: the thermostat oscillates by `sqrt(2 * this)` radians
per step. A faster one is unstable; its speed does not change what is sampled."""


class ThermostattedMomentum(NamedTuple):
    """
    Momentum of adaptive Langevin dynamics.

    - **displacement** - displacement `h p` of the last step.
    - **friction** - the thermostat variable xi, a friction in units of inverse time.
    """

    displacement: Tree
    friction: jax.Array


@dataclass(frozen=True)
class AdaptiveLangevin(UnitMass):
    r"""
    Adaptive Langevin dynamics (Jones and Leimkuhler 2011; Ding et al. 2014): the
    friction is a variable that a thermostat adjusts until the group has the target
    temperature. It absorbs gradient noise of unknown strength, if the noise is white
    and has the same variance in all coordinates of the group. Applied to all parameters
    it is SGNHT.

    The thermostat is driven by the temperature of the *positions*, see
    :func:`~numpyro_pl.dynamics.unit_mass.kinetic_share`. The paper's thermostat
    (`published=True`) is driven by the momentum between its two frictions; at large
    steps it leaves the positions too cold.

    :param float sigma: strength of the added noise, >= 0, in units of momentum per
        square root of time. Default: `sqrt(tau)`, which without gradient noise gives a
        friction of 0.5 (the published 0.01 at `tau = 1e-4`); if the warmup sets the
        step size, it may use more.
    :param float coupling: speed epsilon of the thermostat, > 0. Lowered for large
        groups, where it would be unstable; it does not change what is sampled.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float step_size: step length h of this group, see
        :class:`~numpyro_pl.dynamics.Langevin`.
    :param float noise_fraction: see :class:`~numpyro_pl.dynamics.Langevin`.
    :param float max_frequency: see :class:`~numpyro_pl.dynamics.Langevin`.
    :param bool published: whether to use the paper's thermostat.
    :raises ValueError: if a setting is out of range.
    """

    sigma: float | None = None
    coupling: float = 0.05
    temperature: float = 1.0
    step_size: float | None = None
    noise_fraction: float | None = None
    max_frequency: float | None = None
    published: bool = False
    data_size: float = field(default=1.0, kw_only=True, repr=False)

    num_streams = 2
    # Lower than for other dynamics: with much friction per step the splitting is
    # coarse.
    max_step_friction = 0.25

    def __post_init__(self):
        super().__post_init__()
        check_positive("coupling", self.coupling)
        if self.sigma is not None:
            check_not_negative("sigma", self.sigma)

    @property
    def tau(self) -> Any:
        """Temperature in units of `U / N`."""
        return self.temperature / self.data_size

    @property
    def least_friction(self) -> Any:
        """The friction that balances the added noise alone."""
        return 0.5 if self.sigma is None else 0.5 * self.sigma**2 / self.tau

    def draw_momentum(
        self, increments: Increments, scales, like: Tree, previous: Tree = None
    ):
        """A thermal displacement, and the friction that the noise requires."""
        displacement = super().draw_momentum(increments, scales, like)
        if previous is None:
            friction = as_in(self.least_friction, scales.friction)
        else:
            fixed = not self.warmup_sets_scales
            friction = previous.friction if fixed else scales.friction
        return ThermostattedMomentum(displacement, friction)

    def rescaled(self, momentum: ThermostattedMomentum, old, new):
        """The displacement as warm as before, and the same thermostat."""
        displacement = super().rescaled(momentum.displacement, old, new)
        return momentum._replace(displacement=displacement)

    def thermostat(self, momentum: ThermostattedMomentum) -> jax.Array:
        """The current friction of the thermostat."""
        return momentum.friction

    def step(self, increments, position, momentum, gradient, scales, noise_variance):
        """One step, from one gradient to the next."""
        u, friction = momentum
        h = scales.step_size
        # Sigma is sqrt(2 friction tau); each of the two noise terms has half of its
        # square.
        sd = h * jnp.sqrt(scales.friction * self.tau * h)
        kicked = self.kicked(u, gradient, scales)
        first, second = (increments.white(u, sd, number) for number in (0, 1))
        c = jnp.exp(-0.5 * h * friction)
        middle = jax.tree.map(lambda w, r: c * w + r, kicked, first)
        square = (
            squared_norm(middle) if self.published else self._square(u, kicked, c * c)
        )
        friction = friction + h * self._coupling(h, u) * (
            square / (h * h) - size_of(u) * self.tau
        )
        c = jnp.exp(-0.5 * h * friction)
        u = jax.tree.map(lambda m, r: c * (m + r), middle, second)
        return drifted(position, kicked, u), ThermostattedMomentum(u, friction)

    def kinetic_temperature(self, momentum, gradient, scales, noise_variance):
        """See :meth:`UnitMass.kinetic_temperature`."""
        u = momentum.displacement
        kept = jnp.exp(-scales.step_size * momentum.friction)
        square = self._square(u, self.kicked(u, gradient, scales), kept)
        return square / (self.rate(scales) * size_of(u))

    def _square(self, before: Tree, after: Tree, kept) -> jax.Array:
        # The friction may be negative for a while before the thermostat settles.
        share = kinetic_share(jnp.clip(kept, 0.0, 1.0))
        return self.mixed_square(before, after, share)

    def _coupling(self, h, displacement: Tree):
        limit = ADAPTIVE_STEP / (h * h * size_of(displacement) * self.tau)
        return jnp.minimum(self.coupling, limit)
