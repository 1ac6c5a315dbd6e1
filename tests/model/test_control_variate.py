# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Minibatch potentials relative to an anchor."""

from functools import partial

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
from numpyro_pl.model.full_data import FullDataModel
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


CENTER = (jnp.array([0.5, -0.3, 0.1]),)
BATCHES = jnp.arange(ROWS).reshape(-1, BATCH)


@pytest.fixture(scope="module")
def potential():
    """Of a vector in a tuple, and of the rows of the minibatch."""
    plates = PlateSizes.of(logistic, X, Y)
    found = MinibatchPotential(logistic, plates)
    return lambda z, rows: found({"w": z[0]}, {"data": rows}, *DATA)


def exact_potential(z):
    return potential_energy(FullDataModel(logistic), *DATA, {"w": z[0]})


exact_value_and_grad = jax.jit(jax.value_and_grad(exact_potential))
exact_hessian = jax.jit(jax.hessian(exact_potential))


def anchor_at(center, quadratic, share=1.0):
    energy, slope = exact_value_and_grad(center)
    curvature = exact_hessian(center)[0][0] if quadratic else ()
    return Anchor(center, energy, slope, curvature, share)


def away(distance):
    return (CENTER[0] + distance * jnp.array([1.0, -1.0, 0.5]),)


@partial(jax.jit, static_argnums=0)
def on_batches(potential, z, anchor):
    """Values and gradients on batches that make up the data."""

    def on_batch(rows):
        def energy(z):
            return potential(z, rows)

        fn = energy if anchor is None else anchored_potential(energy, anchor)
        return jax.value_and_grad(fn)(z)

    values, slopes = jax.vmap(on_batch)(BATCHES)
    return values, slopes[0]


orders = pytest.mark.parametrize("quadratic", [False, True])


@orders
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("distance", [0.0, 0.3, 3.0])
def test_the_mean_over_the_data_is_exact(potential, quadratic, share, distance):
    """At any distance; also the prior, which counts once."""
    z = away(distance)
    values, slopes = on_batches(potential, z, anchor_at(CENTER, quadratic, share))
    exact, slope = exact_value_and_grad(z)
    np.testing.assert_allclose(values.mean(), exact, rtol=1e-5)
    np.testing.assert_allclose(slopes.mean(0), slope[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("wrong", ["slope", "curvature"])
def test_a_wrong_anchor_is_seen(potential, wrong):
    z, right = away(0.3), anchor_at(CENTER, True)
    broken = jax.tree.map(jnp.zeros_like, getattr(right, wrong))
    anchors = right, right._replace(**{wrong: broken})
    slopes = [on_batches(potential, z, anchor)[1].mean(0) for anchor in anchors]
    assert np.abs(slopes[0] - slopes[1]).max() > 1.0


@orders
def test_noise_falls_with_the_distance(potential, quadratic):
    """
    None at the anchor; at twice the distance 4 times as much variance with the linear
    part, 16 times with the quadratic one.
    """
    anchor = anchor_at(CENTER, quadratic)

    def noise(distance, anchor):
        return np.asarray(on_batches(potential, away(distance), anchor)[1].var(0))

    assert noise(0.0, anchor).max() < 1e-6 * noise(0.0, None).min()
    near = 0.2 if quadratic else 0.02
    ratio = noise(2 * near, anchor) / noise(near, anchor)
    np.testing.assert_allclose(ratio, 16.0 if quadratic else 4.0, rtol=0.3)


@orders
def test_losses_of_rows_keep_their_higher_derivatives(quadratic):
    """Value and slope at the anchor are gone, the curvature with the quadratic part."""
    plates = PlateSizes.of(logistic, X, Y)
    found = MinibatchPotential(logistic, plates)

    def losses(z):
        return found.with_row_losses({"w": z[0]}, {"data": BATCHES[0]}, *DATA)[1]

    relative = relative_to_anchor(losses, anchor_at(CENTER, quadratic))
    slope = jax.jit(jax.jacrev(relative))(CENTER)[0]
    np.testing.assert_allclose(relative(CENTER), 0.0, atol=1e-5)
    np.testing.assert_allclose(slope, 0.0, atol=1e-5)

    def curvature(fn, z):
        return jax.jit(jax.hessian(fn))(z)[0][0]

    there = away(0.5)
    expected = curvature(losses, there)
    if quadratic:
        expected -= curvature(losses, CENTER)
    np.testing.assert_allclose(
        curvature(relative, there), expected, rtol=1e-3, atol=1e-4
    )
