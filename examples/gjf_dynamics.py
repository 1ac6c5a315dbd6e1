# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A custom dynamics: Langevin dynamics by Gronbech-Jensen and Farago (2013)."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics import UnitMass
from numpyro_pl.trees.arithmetic import mean_of


@dataclass(frozen=True)
class GJF(UnitMass):
    """
    With r = friction h / 2, b = 1 / (1 + r), c = (1 - r) / (1 + r) and noise of
    standard deviation b sqrt(r a T), a step from noise n to noise n' is

        u' = c u - b a grad U + n + n',    x' = x + u' .

    The positions of harmonic targets are exact at every stable step.
    """

    friction: float = 1.0
    temperature: float = 1.0
    step_size: float | None = None
    noise_fraction: float | None = None
    max_frequency: float | None = None
    data_size: float = field(default=1.0, kw_only=True)

    @property
    def least_friction(self):
        return self.friction

    def kept_momentum(self, scales):
        r = 0.5 * scales.friction * scales.step_size
        return (1 - r) / (1 + r)

    def draw_momentum(self, increments, scales, like, previous=None):
        b = (1 + self.kept_momentum(scales)) / 2
        u = increments.white(like, jnp.sqrt(b * self.rate(scales) * self.temperature))
        return u, jax.tree.map(jnp.zeros_like, like)

    def step(self, increments, position, momentum, gradient, scales, noise_variance):
        c, a = self.kept_momentum(scales), self.rate(scales)
        b, r = (1 + c) / 2, (1 - c) / (1 + c)
        u, noise = momentum
        new = increments.white(u, b * jnp.sqrt(r * a * self.temperature))
        kicked = jax.tree.map(lambda u, g: c * u - b * a * g, u, gradient)
        u = jax.tree.map(lambda w, n, m: w + n + m, kicked, noise, new)
        return jax.tree.map(jnp.add, position, u), (u, new)

    def kinetic_temperature(self, momentum, gradient, scales, noise_variance):
        b = (1 + self.kept_momentum(scales)) / 2
        return mean_of(jax.tree.map(jnp.square, momentum[0])) / (b * self.rate(scales))
