# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

r"""
Friction from the examples: every source of minibatch noise gets the friction that
balances it.

The noise of a minibatch gradient is correlated between coordinates, and the thermostat
can leave out only its diagonal. But fluctuation and dissipation balance at every
position, so friction may depend on the position and on the minibatch without a change
of the target. Let :math:`l_i` be the negative log likelihoods of the B rows of a
minibatch and :math:`u` the displacement of the last step, and
:math:`s_i = \nabla l_i \cdot u`. The force

.. math::

    F = \frac{N}{B} \sum_i \frac{N}{2 (B - 1) T} (s_i - \bar s) \nabla l_i

is in expectation :math:`V u / (2 T)`, with the covariance V of the gradient noise: the
friction that dissipates what this noise adds, to first order in the step. The
displacement is that of the step before: it must not depend on the same minibatch.

Of a minibatch with as many rows from each of several strata, only the spread within
the strata is noise: :math:`\bar s` is then the mean over the rows of the same stratum,
and B in the factor the number of those. Plates beside each other draw their rows
independently, so that their noise and their friction add.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.trees.arithmetic import Tree, tree_dot
from numpyro_pl.trees.derivatives import central_difference

__all__ = [
    "Shares",
    "example_friction",
    "friction_share",
    "limited",
    "slowed_gradient",
]

Shares = tuple[tuple[int, int], ...]
"""
Where the rows of a minibatch come from: for each plate the number of its strata and
that of the rows from each, in the order of the rows.
"""


def example_friction(
    losses: Callable[[Tree], jax.Array],
    position: Tree,
    displacement: Tree,
    temperature: Any,
    shares: Shares | None = None,
    forward: bool = True,
) -> Tree:
    """
    The force above, in the units of a gradient.

    :param losses: negative log likelihoods of the rows of a minibatch, each times
        `N / B`, as a function of the position: shape (B,), in nats.
    :param position: the position.
    :param displacement: displacement of the step before, a tree like the position.
    :param temperature: temperature of the target, a scalar.
    :param Shares shares: where the rows come from; None: all from one plate.
    :param bool forward: whether the losses have forward-mode derivatives. Otherwise the
        change of each is a difference.
    """
    values, pull_back = jax.vjp(losses, position)
    if forward:
        change = jax.jvp(losses, (position,), (displacement,))[1]
    else:
        change = central_difference(losses, position, displacement)
    weights = _weights(change, temperature, shares)
    return pull_back(weights.astype(values.dtype))[0]


def slowed_gradient(
    parts: Callable[[Tree], tuple[jax.Array, jax.Array]],
    position: Tree,
    displacement: Tree,
    temperature: Any,
    shares: Shares | None = None,
    forward: bool = True,
) -> Tree:
    r"""
    The gradient on a minibatch plus the force above, in one reverse pass: both are the
    gradient of a sum of losses, in which each row has a weight. The force is not known
    by itself, so that the weights are bounded in place of the share of the force, see
    :func:`limited`.

    :param parts: function of the position that returns the potential, a scalar, and
        the losses of :func:`example_friction`.
    :param position: the position.
    :param displacement: displacement of the step before.
    :param temperature: temperature of the target, a scalar.
    :param Shares shares: where the rows come from; None: all from one plate.
    :param bool forward: as in :func:`example_friction`.
    """
    if forward:
        (energy, losses), push = jax.linearize(parts, position)
        change = push(displacement)[1]
        pull_back = jax.linear_transpose(push, position)
    else:
        (energy, losses), pull_back = jax.vjp(parts, position)
        change = central_difference(lambda x: parts(x)[1], position, displacement)
    weights = _weights(change, temperature, shares, limited)
    return pull_back((jnp.ones_like(energy), weights.astype(losses.dtype)))[0]


def _weights(
    change: jax.Array,
    temperature: Any,
    shares: Shares | None,
    bound: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """
    Weights of the rows, from the change of the loss of each in the last step.

    :param bound: function of the weights of one plate that bounds them.
    """
    shares = ((1, change.shape[0]),) if shares is None else shares
    ends = np.cumsum([strata * num for strata, num in shares])[:-1]

    def of_plate(change, num):
        spread = change - jnp.mean(change, 1, keepdims=True)
        return bound(spread.reshape(-1) * (0.5 * num / ((num - 1) * temperature)))

    return jnp.concatenate(
        [
            of_plate(part.reshape(strata, num), num)
            for part, (strata, num) in zip(jnp.split(change, ends), shares, strict=True)
        ]
    )


def limited(weights: jax.Array) -> jax.Array:
    r"""
    Weights of friction that are safe without knowing its force:
    :math:`w_i / \sqrt{1 + w_i^4}`, less their mean.

    Let friction from a single row turn a displacement along its gradient, in thermal
    units, from z to (1 - W) z; its weight is then :math:`w = z \sqrt{W / 2}`. To first
    order it adds energy where W is above 2. The weights here take it out up to W = 4,
    and above that they add at most an eighth of what the noise of the row itself adds.
    What strong rows heat is left to the thermostat, see
    :func:`numpyro_pl.warmup.control.with_remainder`. The weights are odd functions of
    the displacement, and so do not bias the force; and their sum is 0, so that data and
    prior keep their own.

    :param weights: weights to first order of the rows of a plate, shape (rows,).
    """
    fourth = jnp.square(jnp.square(weights))
    # Infinite weights come before a divergence, which is found at the end of the block.
    bounded = jnp.where(jnp.isfinite(fourth), weights / jnp.sqrt(1 + fourth), 0.0)
    return bounded - jnp.mean(bounded)


def friction_share(displacement: Tree, force: Tree, rates: Tree) -> jax.Array:
    r"""
    Share of the friction that is applied, :math:`1 / (1 + \rho)` with
    :math:`\rho = |F|^2 / (2 F \cdot u)` in thermal units.

    The first order is too much where one badly fitted example dominates. With this
    share the friction takes energy out at every step: that of the first order, times
    the share squared. The rest of the noise heats, and the thermostat leaves out some
    of its own for that, see :func:`numpyro_pl.warmup.control.with_remainder`.

    :param displacement: the displacement u.
    :param force: the force F.
    :param rates: displacement by a unit force, per coordinate.
    """
    square = tree_dot(jax.tree.map(jnp.multiply, rates, force), force)
    work = 2 * tree_dot(force, displacement)
    share = work / jnp.where(work > 0, work + square, 1.0)
    # Infinite forces come before a divergence, which is found at the end of the block.
    return jnp.where((work > 0) & jnp.isfinite(share), share, 0.0)
