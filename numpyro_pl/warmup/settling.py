# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Whether chains have settled by the end of their warmup.

The third and the last quarter of the warmup are compared: a chain that still falls has
a lower potential in the last one. Chains are compared in the potential and in scales,
which are sites of one number with a bounded support: those of a hierarchical model or a
horseshoe, and lengths of a Gaussian process, may be in different places where the
potentials agree. Of a network other numbers do not count: the bias of its output
differs between modes whose predictions agree. In models in which slow directions are
looked for (:mod:`numpyro_pl.warmup.slow`) the mean of each other site counts too. One
warning says what is wrong and what to change.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from numpyro_pl.trees.arithmetic import Tree
from numpyro_pl.warmup.shadow import WIDEST, Shadow, first_shadow

__all__ = [
    "FIRST_FRICTION",
    "Settling",
    "first_settling",
    "problems",
    "recorded",
    "warn_of_distance",
    "warn_of_divergences",
    "warn_unless_settled",
    "watched",
]

MOST_SITES = 20
"""Sites that are compared, the first of a model."""

FEWEST_DRAWS = 50
"""Draws of a quarter of the warmup from which it can be judged."""

FALL, FALL_CHANCE = 1.0, 1.5
"""Fall of the mean potential between the quarters, in its standard deviations within
the last one, from which chains are still falling: the first, plus the second over the
square root of the number of chains, since slow chains fall or rise by chance. A steady
fall gives 3.5."""

APART = 1.3
"""R-hat in the last quarter from which chains are apart."""

TEMPERATURE_ERROR, NOISE_EXCESS, BAD_SHARE = 0.1, 1.5, 0.03
"""Deviation of the temperature, noise relative to what was asked for, and share of
divergent draws from which something is wrong."""


FIRST_FRICTION = 0.03
"""Friction per step of chains without minibatches, before it is set."""


class Settling(NamedTuple):
    """
    What a chain remembers of the second half of its warmup. The first three have an
    entry for the third quarter and one for the last.

    - **num_draws** - number of draws.
    - **mean** - means of the numbers of :func:`watched`, of shape (2, numbers).
    - **square** - sums of their squared deviations.
    - **temperature** - mean kinetic temperature in the last quarter, relative to the
      target, over the draws that did not diverge; by group.
    - **divergences** - divergent draws in the last quarter.
    - **stretch** - how many times its usual number of steps a draw makes, see
      :mod:`numpyro_pl.warmup.stretch`.
    - **friction** - friction per step of chains without minibatches, see there.
    - **shadow** - the bias of the length of the steps since the last event, see
      :mod:`numpyro_pl.warmup.shadow`.
    """

    num_draws: jax.Array
    mean: jax.Array
    square: jax.Array
    temperature: jax.Array
    divergences: jax.Array
    stretch: jax.Array
    friction: jax.Array
    shadow: Shadow


def watched(potential_energy: jax.Array, z: Tree, sites: Sequence[str]) -> jax.Array:
    """
    The numbers in which chains are compared: the potential and the means of some sites.

    :param potential_energy: potential of a draw, in nats.
    :param z: the draw.
    :param sites: names of the sites.
    """
    # A site may have no number at all: the share of one group.
    means = (jnp.sum(z[name]) / max(z[name].size, 1) for name in sites)
    numbers = [potential_energy, *means]
    return jnp.stack(numbers).astype(potential_energy.dtype)


def first_settling(temperature: jax.Array, num_sites: int) -> Settling:
    """
    An empty record.

    :param temperature: gives the type and the number of groups.
    :param int num_sites: number of the sites that are compared.
    """
    dtype = temperature.dtype
    numbers = jnp.zeros((2, 1 + num_sites), dtype)
    none, once = jnp.zeros((), dtype), jnp.ones((), int)
    right = jnp.ones_like(temperature)
    return Settling(
        num_draws=jnp.zeros(2, dtype),
        mean=numbers,
        square=numbers,
        temperature=right,
        divergences=none,
        stretch=once,
        friction=jnp.asarray(FIRST_FRICTION, dtype),
        shadow=first_shadow(dtype),
    )


def recorded(
    settling: Settling, draw, num_warmup: int, numbers, kinetic, diverging
) -> Settling:
    """
    The record after a draw.

    :param draw: number of the draw.
    :param int num_warmup: number of warmup draws.
    :param numbers: those of :func:`watched`.
    :param kinetic: its kinetic temperature relative to the target, by group; that of a
        draw that diverged does not count.
    :param diverging: whether it diverged.
    """
    third, last = num_warmup // 2, (3 * num_warmup) // 4
    within = jnp.stack([(draw >= third) & (draw < last), draw >= last])
    within &= draw < num_warmup
    count = settling.num_draws + within
    counts, known = within[:, None], jnp.maximum(count, 1)[:, None]
    step = numbers - settling.mean
    mean = settling.mean + jnp.where(counts, step / known, 0.0)
    square = settling.square + jnp.where(counts, step * (numbers - mean), 0.0)
    divergences = settling.divergences + (within[1] & diverging)
    share = 1 / jnp.maximum(count[1] - divergences, 1)
    temperature = settling.temperature + jnp.where(
        within[1] & ~diverging, share * (kinetic - settling.temperature), 0.0
    )
    return settling._replace(
        num_draws=count,
        mean=mean,
        square=square,
        temperature=temperature,
        divergences=divergences,
    )


def problems(
    settling: Settling,
    noise: Any,
    allowed_noise: Any,
    num_coordinates: Any,
    sites: Sequence[str] = (),
) -> list[str]:
    """
    What is wrong at the end of a warmup, one sentence for each.

    :param Settling settling: records with a leading axis of chains.
    :param noise: noise fractions, of shape (chains, groups).
    :param allowed_noise: those asked for, of shape (groups,).
    :param num_coordinates: number of coordinates of each group.
    :param sites: names of those that were :func:`watched`.
    """
    count, mean, square = (np.asarray(x, float) for x in settling[:3])
    if count[:, 1].min() < FEWEST_DRAWS:
        return []
    num = count[0, 1]
    variance = square[:, 1] / (num - 1)
    found = []
    steps = (mean[:, 0] - mean[:, 1]) / np.sqrt(variance + 1e-30)
    if steps[:, 0].mean() > FALL + FALL_CHANCE / len(mean) ** 0.5:
        found.append("the potential is still falling: warm up longer")
    if len(mean) > 1:
        r_hat, whose = _farthest_apart(mean[:, 1], variance, sites)
        if r_hat > APART:
            found.append(
                f"the chains are in different places (R-hat {r_hat:.2f} of {whose}): "
                "warm up longer; if that does not help, they are in different modes "
                "and must not be averaged"
            )
    temperature = np.asarray(settling.temperature, float).reshape(len(mean), -1)
    error = np.abs(temperature.mean(0) - 1)
    chance = 10 * np.sqrt(2 / (np.asarray(num_coordinates) * num))
    if (error > TEMPERATURE_ERROR + chance).any():
        worst = temperature.mean(0)[np.argmax(error)]
        found.append(
            f"the kinetic temperature is {worst:.2f} times the target: lower "
            "max_frequency or noise_fraction"
        )
    excess = np.asarray(noise, float).reshape(len(mean), -1).mean(0)
    excess = excess / np.asarray(allowed_noise)
    if (excess > NOISE_EXCESS).any():
        found.append(
            f"the noise fraction is {excess.max():.1f} times what was asked for: warm "
            "up longer, or raise subsample_size"
        )
    bias = np.max(np.asarray(settling.shadow.spread, float))
    if bias > WIDEST:
        found.append(
            f"means may be off by {bias:.2f} standard deviations, because the "
            "curvature varies too much for the length of the steps: write group "
            "effects non-centred, or lower max_frequency"
        )
    bad = np.asarray(settling.divergences, float) / num
    if (bad > BAD_SHARE).any():
        found.append(
            f"{bad.max():.0%} of the last warmup draws diverged: warm up longer, or "
            "lower max_frequency"
        )
    return found


def _farthest_apart(
    mean: np.ndarray, variance: np.ndarray, sites: Sequence[str]
) -> tuple[float, str]:
    """
    The largest R-hat, and what it is of.

    :param mean: means of the potential and the sites, of shape (chains, numbers).
    :param variance: variances within each chain.
    :param sites: names of the sites.
    """
    r_hat = np.sqrt(1 + mean.var(0, ddof=1) / (variance.mean(0) + 1e-30))
    worst = int(np.argmax(r_hat))
    return r_hat[worst], f"'{sites[worst - 1]}'" if worst else "their potentials"


def warn_unless_settled(found: list[str]) -> None:
    """
    One warning for everything that is wrong.

    :param found: what :func:`problems` found.
    """
    if found:
        warnings.warn(
            "The warmup has not settled: " + "; ".join(found) + ".",
            UserWarning,
            stacklevel=2,
        )


def warn_of_divergences(num_divergences: int, num_draws: int) -> None:
    """
    Warn that draws must not be used.

    :param int num_divergences: divergences since the end of warmup.
    :param int num_draws: draws since then, of all chains.
    """
    warnings.warn(
        f"{num_divergences} of {num_draws} draws since the end of warmup diverged: do "
        "not use them. Lower max_frequency or noise_fraction, raise subsample_size, or "
        "warm up longer.",
        UserWarning,
        stacklevel=2,
    )


def warn_of_distance(num_chains: int) -> None:
    """
    Warn that chains have left the neighbourhood of their anchor.

    :param int num_chains: number of these chains.
    """
    warnings.warn(
        f"{num_chains} chains are so far from their anchor that it adds noise instead "
        "of reducing it. Warm up longer, so that the anchor is where the chains are, "
        "or set control_variate=None.",
        UserWarning,
        stacklevel=2,
    )
