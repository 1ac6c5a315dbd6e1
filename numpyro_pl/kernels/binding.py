# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
A model bound to data of one shape: what a kernel derives from the model's arguments.

Everything here depends on the shapes of the data and never on its values, so that a
second data set of the same shape reuses all of it, compiled functions included.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from numpyro.infer.initialization import init_to_uniform

from numpyro_pl.dynamics.friction import example_friction, slowed_gradient
from numpyro_pl.dynamics.integrate import MinibatchGradient
from numpyro_pl.kernels.layout import Layout, SlowLayout, WhitenedLayout
from numpyro_pl.model.arguments import ArgumentPrograms, traced_with, without_values
from numpyro_pl.model.control_variate import (
    Anchor,
    anchored_potential,
    relative_to_anchor,
)
from numpyro_pl.model.indices import Rows
from numpyro_pl.model.layers import has_layers
from numpyro_pl.model.plain_potential import PlainPotential
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import Data, MinibatchPotential
from numpyro_pl.model.sharding import Shards
from numpyro_pl.model.sites import ModelSites, inspect_sites
from numpyro_pl.model.split_model import split_model
from numpyro_pl.model.streams import read_rows, streams_in
from numpyro_pl.trees.arithmetic import Tree, is_large, row
from numpyro_pl.trees.derivatives import has_forward_mode
from numpyro_pl.trees.ordering import computed_after

logger = logging.getLogger("numpyro_pl")

__all__ = ["Binding", "bind_model", "bind_potential"]

FULL_BATCH_STEPS = 10
"""Default number of steps per draw if no plate is subsampled."""

FEWEST_STEPS, MOST_STEPS = 100, 500
"""Bounds on the default number of steps per draw if a plate is subsampled. The momentum
is forgotten in `1 / friction = 100` steps; a shorter draw would hardly differ from
the one before."""


class Binding(NamedTuple):
    """
    What a kernel knows about its target.

    - **potential** - the potential on minibatches and on the full data.
    - **sites** - what the model's trace tells about its sites.
    - **programs** - compiled functions of the model's arguments.
    - **forward** - whether the potential has forward-mode derivatives; None: not known.
    - **searched** - whether slow directions (:mod:`numpyro_pl.warmup.slow`) are looked
      for: not in networks, and not where rows are read from a stream.
    """

    potential: MinibatchPotential | PlainPotential
    sites: ModelSites
    programs: ArgumentPrograms
    forward: bool | None = None
    searched: bool = False

    @property
    def default_num_steps(self) -> int:
        """
        Default number of steps per draw: one pass over the data, but no fewer than
        chains need to move and no more than a user wants to wait for a draw.
        """
        plates = self.potential.plates
        if not plates:
            return FULL_BATCH_STEPS
        return min(max(plates.steps_per_epoch, FEWEST_STEPS), MOST_STEPS)

    @property
    def sampled(self) -> float:
        """Share of the rows that a minibatch has; 0 without a plate or with several."""
        plates = list(self.potential.plates.values())
        return plates[0].subsample_size / plates[0].size if len(plates) == 1 else 0.0

    def constrain_fn(self, data: Data) -> Callable[[Tree], dict]:
        """
        Function from a position to constrained values, compiled as one program: `MCMC`
        calls it once outside of its own, where each operation would be compiled alone.

        :param Data data: the data.
        """
        skip = self.sites.batch_dependent
        if self.potential.shards is not None:
            # Rows that are split must not be constants of the caller's program.
            return self.potential.constrain_fn(data, skip)

        def constrain(data, position):
            return self.potential.constrain_fn(data, skip)(position)

        return self.programs.compiled("constrain", constrain, data)

    @property
    def has_friction(self) -> bool:
        """
        Whether friction from the examples is possible: the model has subsampled plates,
        and none of them inside another.
        """
        return bool(self.potential.plates) and not self.sites.crossed

    def _reading(self, data: Data) -> Callable | None:
        """What reads the rows of minibatches, if any are to be read."""
        if not streams_in(data):
            return None
        sizes = {name: plate.size for name, plate in self.potential.plates.items()}

        def with_rows(batches, after):
            read = read_rows(sizes, batches, after, data)
            return {name: Rows(batches[name], read=read[name]) for name in sizes}

        return with_rows

    def gradient(
        self,
        data: Data,
        layout: Layout | SlowLayout | WhitenedLayout,
        anchor: Anchor | None = None,
    ) -> MinibatchGradient:
        """
        Minibatch gradients with respect to the groups of a layout.

        :param Data data: the data.
        :param layout: the layout.
        :param Anchor anchor: what they are taken relative to, in the layout's
            coordinates; None for plain ones.
        """
        potential = self.potential
        plates = potential.plates

        def energy(groups, rows):
            def at(groups):
                return potential(layout.unpack(groups), rows, *data)

            return (at if anchor is None else anchored_potential(at, anchor))(groups)

        # Compiled with its caller; this way it is traced once for all its uses.
        grad = jax.jit(jax.grad(energy))
        if not isinstance(potential, MinibatchPotential) or not plates:
            return MinibatchGradient(
                lambda key, num: {},
                lambda groups, batch: grad(groups, None),
                None,
                forward=self.forward,
            )

        def halves(groups, batch):
            rows = potential.halves(batch)
            if is_large(groups):
                # One after the other, so that only one half's activations are held at a
                # time.
                first = grad(groups, row(rows, 0))
                return first, grad(groups, computed_after(row(rows, 1), first))
            # Mapped, so that the gradient is compiled once.
            both = jax.vmap(grad, (None, 0))(groups, rows)
            return row(both, 0), row(both, 1)

        def mean_of_halves(groups, batch):
            return jax.tree.map(lambda a, b: 0.5 * (a + b), *halves(groups, batch))

        # Plain steps use the odd row too, and their noise is smaller by a fraction; if
        # there is none for all plates, every step is the mean of halves.
        fractions = {plate.halved for plate in plates.values()}
        always = self.sites.crossed or len(fractions) > 1
        minibatches = MinibatchGradient(
            potential.draw_indices,
            mean_of_halves if always else grad,
            halves,
            1.0 if always else fractions.pop(),
            always,
            forward=self.forward,
            with_rows=self._reading(data),
        )
        if not self.has_friction:
            return minibatches
        return _with_friction(minibatches, potential, data, layout, anchor)


def bind_potential(potential_fn: Callable[[Tree], jax.Array]) -> Binding:
    """
    A potential energy of the position alone as a target.

    :param potential_fn: function from a tree of arrays to a scalar, in nats.
    """
    return Binding(PlainPotential(potential_fn), ModelSites(), ArgumentPrograms())


def bind_model(model: Callable, data: Data, shards: Shards | None = None) -> Binding:
    """
    A model as a target.

    :param model: a NumPyro model.
    :param data: its arguments.
    :param Shards shards: how they are split over devices, None where they are not.
    :raises ValueError: for a model or data that cannot be sampled by minibatches.
    """
    if shards is not None:
        plates, sites, shards = split_model(model, data, shards)
        if shards is not None:
            potential = MinibatchPotential(model, plates, shards)
            # Chains may be split too, and rows cannot be taken outside of a program.
            return Binding(potential, sites, ArgumentPrograms(), forward=True)
    plates, data = traced_with(partial(PlateSizes.of, model), data)
    args, kwargs = data
    sites = inspect_sites(model, plates, args, kwargs)
    potential = MinibatchPotential(model, plates)
    found, traced = without_values(partial(_structure, potential, sites), data)
    return Binding(potential, sites, ArgumentPrograms(traced), *found)


def _structure(
    potential: MinibatchPotential, sites: ModelSites, data: Data
) -> tuple[bool, bool]:
    """
    Whether the potential of a model has forward-mode derivatives, told if not, and
    whether slow directions are looked for.
    """
    shapes = potential.uniform_starts(data, init_to_uniform).shapes
    rows = potential.first_rows()

    def energy(z):
        return potential(z, rows, *data)

    layers = has_layers(energy, shapes, sites.bounded)
    searched = not streams_in(data) and not layers
    if has_forward_mode(energy, shapes):
        return True, searched
    logger.info(
        "The model has no forward-mode derivatives (it uses a function with a "
        "jax.custom_vjp, such as an ODE solver): differences stand in for them."
    )
    return False, searched


def _with_friction(
    minibatches: MinibatchGradient,
    potential: MinibatchPotential,
    data: Data,
    layout: Layout | SlowLayout | WhitenedLayout,
    anchor: Anchor | None,
) -> MinibatchGradient:
    """Gradients that also know the friction from their examples."""
    plates = sorted(potential.plates.items())
    shares = tuple((plate.strata, plate.share) for _, plate in plates)
    forward = minibatches.forward is not False

    def parts_on(batch):
        def energy_and_losses(groups):
            return potential.with_row_losses(layout.unpack(groups), batch, *data)

        if anchor is None:
            return energy_and_losses
        energy = anchored_potential(lambda z: energy_and_losses(z)[0], anchor)
        losses = relative_to_anchor(lambda z: energy_and_losses(z)[1], anchor)
        return lambda groups: (energy(groups), losses(groups))

    def friction(groups, batch, displacement, temperature):
        def losses(groups):
            return parts_on(batch)(groups)[1]

        return example_friction(
            losses, groups, displacement, temperature, shares, forward
        )

    def slowed(groups, batch, displacement, temperature):
        parts = parts_on(batch)
        return slowed_gradient(
            parts, groups, displacement, temperature, shares, forward
        )

    return minibatches._replace(friction=friction, slowed=slowed)
