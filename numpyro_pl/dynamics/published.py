# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Pseudo-Langevin dynamics as published (arXiv:2603.15367), for comparison."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.protocol import GroupDynamics, required
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics
from numpyro_pl.trees.arithmetic import Tree, as_in
from numpyro_pl.trees.checks import check_integer, check_not_negative

__all__ = ["PublishedDynamics"]


@dataclass(frozen=True)
class PublishedDynamics(PseudoLangevinDynamics):
    r"""
    Pseudo-Langevin dynamics as published. The steps are those of
    :class:`PseudoLangevinDynamics`, with four differences:

    * draws are read at the full step (OBABO), where the gradient is taken: the variance
      of a harmonic target of frequency w is too large by :math:`1 / (1 - w^2 / 4)`;
    * the variance of the minibatch noise is frozen between two estimates;
    * masses follow from the noise alone, :math:`M = v h^2 / (4 r T m_1^2)` with the
      authors' `T_ratio` r and :math:`m_1^2 = 1 - c`. That is the noise fraction
      :math:`(1 + c) r`. Curvature does not bound them;
    * there is no friction from the examples.

    :param float noise_fraction: the noise fraction, `(1 + c) T_ratio`.
    :param float friction: friction per step.
    :param float temperature: temperature T of the target; 1 is the posterior.
    :param float least_variance: variances below this are replaced by it, in units of
        the squared gradient of the potential. Without noise a mass would be zero.
    :param int estimate_batches: minibatches of an estimate of the noise.
    :param float reset_probability: probability that an estimate sets all masses anew;
        else only those of coordinates that have more than their noise fraction.
    :raises ValueError: if a setting is out of range.
    """

    uses_friction: bool = field(default=False, init=False)
    least_variance: float = field(default=0.0, kw_only=True)
    estimate_batches: int = field(default=500, kw_only=True)
    reset_probability: float = field(default=0.1, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        check_not_negative("least_variance", self.least_variance)
        check_integer("estimate_batches", self.estimate_batches)
        if not 0 <= self.reset_probability <= 1:
            raise ValueError(
                "reset_probability must be a probability, from 0 to 1, got "
                f"{self.reset_probability!r}."
            )

    @property
    def warmup_sets_scales(self) -> bool:
        """False: estimates of the noise set them, in the warmup and after it."""
        return False

    def floored(self, noise_variance: Tree) -> Tree:
        """Variances that are at least `least_variance`."""
        least = self.least_variance
        return jax.tree.map(lambda v: jnp.maximum(v, as_in(least, v)), noise_variance)

    def choose_scales(self, noise_variance: Tree, curvature: Tree) -> Tree:
        """Rates at which the minibatches supply the noise fraction."""
        allowed = self.thermal_rate * required(self, "noise_fraction")
        return jax.tree.map(
            lambda v: as_in(allowed, v) / v, self.floored(noise_variance)
        )

    # Only an estimate changes the rates.
    limited = GroupDynamics.limited
    bulk_and_peak = GroupDynamics.bulk_and_peak
    evened = GroupDynamics.evened

    def shrink(self, scales: Tree, factor) -> Tree:
        """The scales: only an estimate changes them."""
        return scales

    def squared_frequency(self, scales: Tree) -> Tree:
        """Zero: the curvature does not bound the steps."""
        return jax.tree.map(jnp.zeros_like, scales)

    def track_noise(self, noise_variance: Tree, halves, fraction: float, rate) -> Tree:
        """The variance as it is: frozen until the next estimate."""
        return noise_variance

    def read(self, position: Tree, momentum: Tree) -> Tree:
        """The draw: the position where the next gradient is taken."""
        return position

    def resume(self, draw: Tree, momentum: Tree) -> Tree:
        """The position after a draw."""
        return draw
