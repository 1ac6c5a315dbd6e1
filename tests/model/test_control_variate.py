# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch potentials relative to an anchor."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer.util import potential_energy

from numpyro_pl.model.control_variate import (
    Anchor,
    anchored_potential,
    relative_to_anchor,
)
from numpyro_pl.model.handlers import FullDataModel
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential

ROWS, BATCH = 120, 20
X = random.normal(random.key(0), (ROWS, 3))
Y = (random.uniform(random.key(1), (ROWS,)) < 0.4).astype(int)
DATA = (X, Y), {}


def logistic(x, y):
    w = numpyro.sample("w", dist.Normal(0, 0.5).expand([3]).to_event(1))
    with numpyro.plate("data", ROWS, subsample_size=BATCH) as rows:
        numpyro.sample("y", dist.Bernoulli(logits=x[rows] @ w), obs=y[rows])


CENTER = {"w": jnp.array([0.5, -0.3, 0.1])}
BATCHES = jnp.arange(ROWS).reshape(-1, BATCH)


@pytest.fixture(scope="module")
def potential():
    plates = PlateSizes.of(logistic, X, Y)
    return MinibatchPotential(logistic, plates)


def anchor_at(potential, center, share=1.0):
    energy, slope = potential.full_value_and_grad(center, *DATA)
    return Anchor(center, energy, slope, share)


def on_batches(potential, z, anchor):
    """Values and gradients on batches that make up the data."""

    def on_batch(rows):
        def energy(z):
            return potential(z, {"data": rows}, *DATA)

        fn = energy if anchor is None else anchored_potential(energy, anchor)
        return jax.value_and_grad(fn)(z)

    return jax.vmap(on_batch)(BATCHES)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("distance", [0.0, 0.3, 3.0])
def test_the_mean_over_the_data_is_exact(potential, share, distance):
    """At any distance; also the prior, which counts once."""
    z = {"w": CENTER["w"] + distance * jnp.array([1.0, -1.0, 0.5])}
    values, slopes = on_batches(potential, z, anchor_at(potential, CENTER, share))
    exact, slope = jax.value_and_grad(
        lambda z: potential_energy(FullDataModel(logistic), *DATA, z)
    )(z)
    np.testing.assert_allclose(values.mean(), exact, rtol=1e-5)
    np.testing.assert_allclose(slopes["w"].mean(0), slope["w"], rtol=1e-3, atol=1e-3)


def test_a_wrong_slope_is_seen(potential):
    z = {"w": CENTER["w"] + 0.3}
    wrong = anchor_at(potential, CENTER)._replace(slope={"w": jnp.zeros(3)})
    right = anchor_at(potential, CENTER)
    slopes = [on_batches(potential, z, a)[1]["w"].mean(0) for a in (wrong, right)]
    assert np.abs(slopes[0] - slopes[1]).max() > 1.0


def test_noise_falls_with_the_square_of_the_distance(potential):
    """None at the anchor, four times as much variance at twice the distance."""
    anchor = anchor_at(potential, CENTER)

    def noise(distance, anchor):
        z = {"w": CENTER["w"] + distance * jnp.array([1.0, -1.0, 0.5])}
        return np.asarray(on_batches(potential, z, anchor)[1]["w"].var(0))

    assert noise(0.0, anchor).max() < 1e-6 * noise(0.0, None).min()
    ratio = noise(0.02, anchor) / noise(0.01, anchor)
    np.testing.assert_allclose(ratio, 4.0, rtol=0.1)


def test_losses_of_rows_keep_their_curvature(potential):
    """Their values and slopes at the anchor are gone; second derivatives are not."""

    def losses(z):
        return potential.row_losses(z, {"data": BATCHES[0]}, *DATA)

    relative = relative_to_anchor(losses, anchor_at(potential, CENTER))
    np.testing.assert_allclose(relative(CENTER), 0.0, atol=1e-5)
    np.testing.assert_allclose(jax.jacrev(relative)(CENTER)["w"], 0.0, atol=1e-5)
    z = {"w": CENTER["w"] + 0.5}
    curvature = [jax.hessian(fn)(z)["w"]["w"] for fn in (losses, relative)]
    np.testing.assert_allclose(*curvature, rtol=1e-4, atol=1e-5)
