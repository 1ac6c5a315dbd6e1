# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What the draws of a run depend on besides the state of the chain."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.dynamics.protocol import required
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics
from numpyro_pl.kernels.binding import Binding
from numpyro_pl.kernels.collect import collected
from numpyro_pl.kernels.energies import relative_estimate
from numpyro_pl.kernels.hessians import full_hessian, hessian_product
from numpyro_pl.kernels.layout import Layout, WhitenedLayout
from numpyro_pl.kernels.settings import KernelSettings
from numpyro_pl.model.control_variate import Anchor
from numpyro_pl.model.potential import Data
from numpyro_pl.model.streams import streams_in
from numpyro_pl.warmup.frame import (
    Frame,
    FrameSettings,
    is_white,
    largest_noise_fraction,
)
from numpyro_pl.warmup.pooling import OneChain
from numpyro_pl.warmup.reframing import Target
from numpyro_pl.warmup.schedule import Schedule
from numpyro_pl.warmup.settling import MOST_SITES
from numpyro_pl.warmup.stretch import Length, largest_stretch

__all__ = ["Run"]


FEW_ROWS = 16_384
"""Rows up to which the potential of a draw is always that on the full data."""

READ_AGAIN = 4
"""Rows of a stream, in those that the steps of a draw read, up to which its full data
is read at each draw."""

START_BATCHES = 16
"""Minibatches that tell where a start is good, if not the full data."""

BOLDNESS, MOST_NOISE = 15.0, 3.0
"""Noise fraction in the first half of the warmup, relative to that of the draws, and
the most that it is then: chains move as many times faster on their way to where they
belong, and accuracy does not matter yet. Of a network of 128 weights on 1,013 rows, 24
chains were 49 nats above the posterior after 500 draws without, 12 nats with 5 times
the noise (standard errors 4), and where NUTS is with 15 times."""

MOST_ERROR = 0.25
"""Error of an estimate from which the full data is used, in standard deviations of the
potential."""


class Run(NamedTuple):
    """
    All that a draw depends on besides the state.

    - **binding** - the target.
    - **data** - the data.
    - **dynamics** - the dynamics of each group.
    - **layout** - the groups of a position, in the model's coordinates.
    - **schedule** - what happens when.
    - **settings** - settings of the kernel.
    - **framing** - what the frame of a chain is to have; None where it has none.
    - **seeks_slow** - whether slow directions are looked for.
    - **sets_friction** - whether the warmup sets the friction of chains without
      minibatches, see :mod:`numpyro_pl.warmup.stretch`.
    """

    binding: Binding
    data: Data
    dynamics: Partition
    layout: Layout
    schedule: Schedule
    settings: KernelSettings
    framing: FrameSettings | None = None
    seeks_slow: bool = False
    sets_friction: bool = False

    @property
    def full_potential(self) -> bool | str:
        """
        The setting of that name; never the full data where they are read from a stream
        and are many more than the steps of a draw read.
        """
        asked, plates = self.settings.full_potential, self.binding.potential.plates
        if asked != "auto" or not streams_in(self.data):
            return asked
        per_draw = self.schedule.num_steps / max(plates.steps_per_epoch, 1)
        return asked if READ_AGAIN * per_draw >= 1 else False

    def potential_at_start(self, rng_key: jax.Array, z: Any) -> jax.Array:
        """The potential to choose a start by: of a stream, a sample of its rows."""
        potential = self.binding.potential
        if self.full_potential:
            return potential.full(z, *self.data)
        return potential.estimate(rng_key, z, *self.data, num=START_BATCHES)

    @property
    def compared(self) -> tuple[str, ...]:
        """
        Names of the sites in which chains are compared: scales and, in models that are
        no networks, all others. A network has modes that differ in their weights.
        """
        sites = self.binding.sites
        others = set(sites.latent or ()) - set(sites.scales) if self.seeks_slow else ()
        return (sites.scales + tuple(sorted(others)))[:MOST_SITES]

    @property
    def most_stretch(self) -> int:
        """How many times longer draws may become where chains mix slowly."""
        plan = self.schedule
        if self.settings.num_steps is not None or plan.interval is not None:
            return 1
        return largest_stretch(plan.draw_steps, self.layout.size)

    @property
    def length(self) -> Length:
        """What the length and the friction of draws may become."""
        plan = self.schedule
        return Length(
            plan.num_warmup,
            plan.draw_steps,
            self.most_stretch,
            self.sets_friction,
        )

    @property
    def is_white(self) -> bool:
        """Whether the dynamics move whitened coordinates."""
        return is_white(self.framing)

    def target(self, state: Any) -> Target:
        """What the frame of a chain is set for."""
        (dynamics,) = self.dynamics.members
        return Target(
            self.full_value_and_grad,
            self.full_hessian,
            self.gradient,
            self.binding.sampled,
            required(dynamics, "max_frequency"),
            state.temperature,
        )

    def at_temperature(self, temperature) -> "Run":
        """
        The run at another temperature.

        :param temperature: a scalar, the temperature of every group; may be traced.
        """
        dtype = jnp.result_type(float)
        own = jnp.asarray(self.dynamics.temperature, dtype)
        temperature = jnp.broadcast_to(jnp.asarray(temperature, dtype), own.shape)
        return self._replace(dynamics=self.dynamics.at_temperature(temperature))

    def dynamics_of(self, state: Any) -> Partition:
        """The dynamics at the temperature and the friction of a chain."""
        dynamics = self.dynamics.at_temperature(state.temperature)
        if self.sets_friction:
            friction = state.settling.friction
        elif self.framing is not None and self.framing.sets_friction:
            friction = state.frame.friction
        else:
            return self._bold_at_first(dynamics, state)
        asked = required(self.dynamics.members[0], "noise_fraction")
        return dynamics.at_pace(friction, largest_noise_fraction(friction, asked))

    @property
    def boldness(self) -> float:
        """Noise fraction in the first half of warmup, relative to that of the draws."""
        balanced = self.dynamics.uses_friction and self.binding.has_friction
        if self.is_white or not balanced or self.first_careful_draw == 0:
            return 1.0
        asked = required(self.dynamics.members[0], "noise_fraction")
        return max(1.0, min(BOLDNESS, MOST_NOISE / asked))

    @property
    def first_careful_draw(self) -> int:
        """The first draw whose minibatches supply no more noise than was asked for."""
        return self.schedule.burn_in_end // self.schedule.blocks_per_draw

    def _bold_at_first(self, dynamics: Partition, state: Any) -> Partition:
        """The dynamics, with a larger bound on noise in the first half of warmup."""
        if self.boldness == 1:
            return dynamics
        (member,) = dynamics.members
        assert isinstance(member, PseudoLangevinDynamics)
        bold = jnp.where(state.i < self.first_careful_draw, self.boldness, 1.0)
        asked = required(member, "noise_fraction")
        return dynamics.at_pace(member.friction, bold * asked)

    def layout_in(self, frame: Any = ()) -> Layout | WhitenedLayout:
        """The layout whose coordinates the dynamics of a chain move."""
        if not isinstance(frame, Frame) or isinstance(frame.basis, tuple):
            return self.layout
        (center,) = frame.center
        return WhitenedLayout(self.layout, center, frame.basis, frame.inverse)

    def anchor(self, frame: Frame | tuple) -> Anchor | None:
        """The anchor of a chain, in the coordinates that its dynamics move."""
        if self.framing is None or self.framing.anchored == "never":
            return None
        assert isinstance(frame, Frame)
        center, slope, curvature = frame.center, frame.slope, frame.curvature
        if not isinstance(frame.basis, tuple):
            slope = (frame.basis.T @ slope[0],)
            center = (jnp.zeros_like(center[0]),)
            curvature = frame.basis.T @ curvature @ frame.basis
        return Anchor(center, frame.energy, slope, curvature, frame.share)

    def gradient(self, frame: Any = ()) -> MinibatchGradient:
        """Minibatch gradients by group; plain ones without a frame."""
        anchor = self.anchor(frame) if isinstance(frame, Frame) else None
        return self.binding.gradient(self.data, self.layout_in(frame), anchor)

    def full_value_and_grad(self, groups: Any) -> tuple[jax.Array, Any]:
        """Potential on the full data and its gradient, in the model's coordinates."""
        z = self.layout.unpack(groups)
        energy, slope = self.binding.potential.full_value_and_grad(z, *self.data)
        return energy, self.layout.pack(slope)

    def full_hessian(self, groups: Any) -> jax.Array:
        """
        Hessian of the potential on the full data, in the model's coordinates, of which
        there is one vector.
        """
        return full_hessian(self.binding, self.data, self.layout, groups[0])

    def hessian_product(self, rng_key: jax.Array) -> Any:
        """
        Hessian-vector products, in the model's coordinates, of which there is one
        vector.
        """
        return hessian_product(self.binding, self.data, self.layout, rng_key)

    def potential_energy(
        self, rng_key: jax.Array, state: Any, chains: OneChain
    ) -> jax.Array:
        """
        Potential at a draw: on the full data unless the user wants an estimate or,
        where the kernel may choose, one relative to an anchor is at hand.
        """
        potential, z = self.binding.potential, state.z
        kind = self.full_potential
        if not kind:
            return potential.estimate(rng_key, z, *self.data)
        anchored = self.framing is not None and self.framing.anchored != "never"
        if kind != "auto" or not anchored or self.binding.sites.data_size <= FEW_ROWS:
            return potential.full(z, *self.data)

        def estimate():
            layout, anchor = self.layout_in(state.frame), self.anchor(state.frame)
            assert anchor is not None
            return relative_estimate(
                rng_key, self.binding, self.data, layout, anchor, z
            )

        energy, error = lax.cond(
            chains.largest(state.frame.share) > 0,
            estimate,
            lambda: (
                state.potential_energy,
                jnp.full_like(state.potential_energy, jnp.inf),
            ),
        )
        # In units of the standard deviation of the potential of a normal distribution.
        error /= jnp.max(state.temperature) * (self.layout.size / 2) ** 0.5
        return lax.cond(
            chains.largest(error) < MOST_ERROR,
            lambda: energy,
            lambda: potential.full(z, *self.data),
        )

    def kept(self, z: Any) -> dict[str, jax.Array] | tuple:
        """What the kernel's `collect` keeps of a draw; nothing without it."""
        if self.settings.collect is None:
            return ()
        skipped = self.binding.sites.batch_dependent
        constrain = self.binding.potential.constrain_fn(self.data, skipped)
        return collected(self.settings.collect, constrain(z), skipped)

    def variance_weight(self, block) -> jax.Array:
        """Minibatches that the running noise variance averages at a block."""
        return self.schedule.variance_weight(block, self.settings.variance_rate)

    def burning_in(self, block) -> jax.Array:
        """Whether a chain may still be far from the typical set at a block."""
        return block < self.schedule.burn_in_end
