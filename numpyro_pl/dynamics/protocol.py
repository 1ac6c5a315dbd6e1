# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What the dynamics of a group of parameters must provide.

A kernel moves each group of parameters with a :class:`GroupDynamics`; each step takes
one minibatch gradient for all groups. A dynamics works with four trees and chooses
their form; to the kernel they are just trees of arrays:

* *position* and *gradient*: one array, or a tuple of arrays;
* *momentum*: whatever a step passes on to the next: a displacement, with a thermostat
  if there is one;
* *scales*: what the warmup sets and every step uses: step sizes, masses, frictions;
* *noise variance*: variance of the minibatch gradient, one value for each coordinate
  where :attr:`GroupDynamics.tracks_noise`, else its mean over the group, a scalar.
"""

import copy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from numpyro_pl.dynamics.noise import half_difference_variance, running_mean
from numpyro_pl.trees.arithmetic import Tree, mean_of, spread
from numpyro_pl.trees.checks import check_positive, check_unit_interval
from numpyro_pl.trees.increments import Increments

__all__ = [
    "GroupDynamics",
    "KernelDefaults",
    "check_bounds",
    "missing_settings",
    "no_temperature",
    "required",
]


class KernelDefaults(NamedTuple):
    """
    Defaults that a kernel gives to the dynamics of its groups. A group's own setting
    takes precedence.

    - **data_size** - number N of data.
    - **step_size** - step length; None: the warmup sets it.
    - **noise_fraction** - share of the thermostat's noise that minibatches may supply.
    - **max_frequency** - bound on the frequency of every mode, in radians per step.
    """

    data_size: float = 1.0
    step_size: float | None = None
    noise_fraction: float = 0.05
    max_frequency: float = 0.5


def check_bounds(dynamics: Any) -> None:
    """
    Check the settings that all dynamics of the package share.

    :param dynamics: has `temperature`, and `noise_fraction` and `max_frequency`, which
        may be None.
    :raises ValueError: if one is out of range.
    """
    check_positive("temperature", dynamics.temperature)
    if dynamics.noise_fraction is not None:
        check_unit_interval("noise_fraction", dynamics.noise_fraction)
    if dynamics.max_frequency is not None:
        check_positive("max_frequency", dynamics.max_frequency, below=2.0)


def missing_settings(dynamics: Any, defaults: KernelDefaults) -> dict[str, Any]:
    """The kernel's defaults for those settings of a dynamics that are None."""
    return {
        name: value
        for name, value in defaults._asdict().items()
        if hasattr(dynamics, name) and getattr(dynamics, name) is None
    }


def no_temperature(dynamics: "GroupDynamics", position: Tree) -> jax.Array:
    """What the temperatures of steps are added to, in the type of a position."""
    dtype = jnp.result_type(*jax.tree.leaves(position))
    return jnp.zeros(jnp.shape(dynamics.temperature), dtype)


def required(dynamics: "GroupDynamics", name: str) -> float:
    """
    A setting of a dynamics that must not be None.

    :raises ValueError: if neither the user nor a kernel has given it.
    """
    value = getattr(dynamics, name)
    if value is None:
        raise ValueError(
            f"{type(dynamics).__name__} has no {name}: give it, or use the defaults "
            "of a kernel with dynamics.bind(KernelDefaults())."
        )
    return value


class GroupDynamics:
    """
    Base class of the dynamics of a group of parameters. A dynamics must define seven
    methods. :class:`~numpyro_pl.dynamics.UnitMass` provides six of them for dynamics
    with one step size; what is left is a step. All other methods have defaults.

    - **temperature** - temperature T of the target `exp(-U / T)`; a float, or a traced
      number inside a compiled program.
    - **noise_fraction** - share of the thermostat's noise that minibatches may supply.
    - **tracks_noise** - whether the noise variance is tracked along the chain, for each
      coordinate.
    - **uses_friction** - whether friction from the examples balances the noise, see
      :mod:`numpyro_pl.dynamics.friction`. The momentum must be the displacement of the
      last step, and the scales its rates.
    - **warmup_sets_scales** - whether the warmup sets the scales; False where the user
      has set them all.
    - **num_streams** - how many times a step asks for random increments.
    """

    temperature: Any
    noise_fraction: float | None
    tracks_noise: bool = False
    uses_friction: bool = False
    num_streams: int = 1

    @property
    def warmup_sets_scales(self) -> bool:
        """Whether the warmup sets the scales."""
        return True

    # Every dynamics must define these.

    def choose_scales(self, noise_variance: Tree, curvature: Tree) -> Tree:
        """
        Scales for the noise and the curvature that the warmup has measured.

        :param noise_variance: variance of the minibatch gradient, per coordinate.
        :param curvature: positive curvature of the potential, per coordinate.
        """
        raise NotImplementedError

    def shrink(self, scales: Tree, factor) -> Tree:
        """
        Scales with all squared frequencies times `factor`.

        :param factor: a number in (0, 1].
        """
        raise NotImplementedError

    def squared_frequency(self, scales: Tree) -> Tree:
        """
        Factor that turns the Hessian's entries into squared frequencies, in units of
        the largest one allowed: a tree like the position, or a scalar. 0 if the user
        has set the step size.
        """
        raise NotImplementedError

    def noise_shares(self, scales: Tree, noise_variance: Tree) -> Tree:
        """
        Share of the thermostat's noise that minibatches supply; linear in the variance.

        :param noise_variance: variance of the minibatch gradient.
        :return: a tree like `noise_variance`.
        """
        raise NotImplementedError

    def draw_momentum(
        self, increments: Increments, scales: Tree, like: Tree, previous: Tree = None
    ) -> Tree:
        """
        Draw a thermal momentum: at the start, after the warmup has changed the scales,
        and after a divergence.

        :param Increments increments: random increments.
        :param like: a tree in the shape of the position.
        :param previous: the previous momentum, from which small variables such as a
            thermostat may be kept; None if there is none.
        """
        raise NotImplementedError

    def step(
        self,
        increments: Increments,
        position: Tree,
        momentum: Tree,
        gradient: Tree,
        scales: Tree,
        noise_variance: Tree,
    ) -> tuple[Tree, Tree]:
        """
        One step, from one gradient to the next.

        :param Increments increments: the random increments of this step.
        :param position: where `gradient` was taken.
        :param momentum: the momentum of the step before.
        :param gradient: minibatch gradient of the potential at `position`.
        :return: (position, momentum) after the step.
        """
        raise NotImplementedError

    def kinetic_temperature(
        self, momentum: Tree, gradient: Tree, scales: Tree, noise_variance: Tree
    ) -> jax.Array:
        """
        Kinetic temperature of the group, in units of the potential: its expectation is
        `temperature` if the chain samples correctly.

        :param momentum: the momentum before the kick by `gradient`.
        :return: scalar.
        """
        raise NotImplementedError

    # These have defaults.

    def bind(self, defaults: KernelDefaults) -> "GroupDynamics":
        """These dynamics as one group of a kernel, with its defaults."""
        return self

    def at_temperature(self, temperature) -> "GroupDynamics":
        """These dynamics at another temperature, which may be traced."""
        other = copy.copy(self)
        object.__setattr__(other, "temperature", temperature)
        return other

    def at_pace(self, friction, noise_fraction) -> "GroupDynamics":
        """
        These dynamics with another friction per step and another bound on the noise
        fraction, both of which may be traced.
        """
        other = copy.copy(self)
        object.__setattr__(other, "friction", friction)
        object.__setattr__(other, "noise_fraction", noise_fraction)
        return other

    def friction_excess(self, scales: Tree, noise_variance: Tree):
        """
        Excess of :meth:`kinetic_temperature` over the temperature of the positions if
        all of the noise is balanced by friction from the examples.
        """
        return 0.0

    def read(self, position: Tree, momentum: Tree) -> Tree:
        """The draw that belongs to a position where gradients are taken."""
        return position

    def resume(self, draw: Tree, momentum: Tree) -> Tree:
        """The position of the next gradient after a draw: undoes :meth:`read`."""
        return draw

    def rescaled(self, momentum: Tree, old: Tree, new: Tree) -> Tree:
        """
        The momentum after the scales have changed: as warm as before.

        :param momentum: the momentum, a tree of displacements.
        :param old: the scales that it belongs to.
        :param new: the scales from now on.
        """
        before, after = self.squared_frequency(old), self.squared_frequency(new)

        def ratio(a, b):
            return jnp.where(a > 0, jnp.sqrt(b / jnp.where(a > 0, a, 1.0)), 1.0)

        ratios = spread(jax.tree.map(ratio, before, after), momentum)
        return jax.tree.map(lambda u, r: u * r.astype(u.dtype), momentum, ratios)

    def limited(self, scales: Tree, noise_variance: Tree, momentum: Tree) -> Tree:
        """Scales at most, after a block of the warmup: for its noise and its heat."""
        return scales

    def bulk_and_peak(self, momentum: Tree, scales: Tree):
        """Kinetic temperature less the heat of hot coordinates, and the largest one."""
        return jnp.inf, 0.0

    def evened(self, scales: Tree, ratio) -> Tree:
        """Scales of coordinates within `ratio` times their mean in an array."""
        return scales

    def thermostat(self, momentum: Tree) -> jax.Array:
        """The thermostat variable, a scalar; 0 if there is none."""
        return jnp.zeros((), jnp.result_type(*jax.tree.leaves(momentum)))

    def mean_noise_share(self, scales: Tree, noise_variance: Tree) -> jax.Array:
        """Mean of :meth:`noise_shares` over the group, a scalar."""
        return mean_of(self.noise_shares(scales, noise_variance))

    def track_noise(
        self, noise_variance: Tree, halves: tuple[Tree, Tree], fraction: float, rate
    ) -> Tree:
        """
        The noise variance after a step whose gradient was the mean of two halves.

        :param halves: gradients on the two halves of the minibatch.
        :param float fraction: rows in both halves relative to the minibatch.
        :param rate: weight of the new estimate.
        """
        if not self.tracks_noise:
            return noise_variance
        new = half_difference_variance(*halves, fraction)
        return running_mean(noise_variance, new, rate)
