# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What the draws of a run depend on besides the state of the chain."""

from typing import NamedTuple

import jax

from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.dynamics.partition import Partition
from numpyro_pl.kernels.binding import Binding
from numpyro_pl.kernels.layout import Layout
from numpyro_pl.kernels.settings import KernelSettings
from numpyro_pl.model.potential import Data
from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.warmup.schedule import Schedule

__all__ = ["Run"]


class Run(NamedTuple):
    """
    All that a draw depends on besides the state.

    - **binding** - the target.
    - **data** - the data.
    - **dynamics** - the dynamics of each group.
    - **layout** - the groups of a position.
    - **schedule** - what happens when.
    - **settings** - settings of the kernel.
    """

    binding: Binding
    data: Data
    dynamics: Partition
    layout: Layout
    schedule: Schedule
    settings: KernelSettings

    def gradient(self) -> MinibatchGradient:
        """Minibatch gradients by group."""
        return self.binding.gradient(self.data, self.layout)

    def potential_energy(self, rng_key: jax.Array, z: Tree) -> jax.Array:
        """Potential at a draw, on the full data unless the user wants an estimate."""
        potential = self.binding.potential
        if self.settings.full_potential:
            return potential.full(z, *self.data)
        return potential.estimate(rng_key, z, *self.data)

    def variance_weight(self, block) -> jax.Array:
        """Minibatches that the running noise variance averages at a block."""
        return self.schedule.variance_weight(block, self.settings.variance_rate)

    def burning_in(self, block) -> jax.Array:
        """Whether a chain may still be far from the typical set at a block."""
        return block < self.schedule.burn_in_end
