# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Starts nearer to zero, and how hot a start is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics import MinibatchGradient
from numpyro_pl.warmup.start import heat_at_start, nearer_start


def normal(z):
    """Potential of 1,000 normal values of standard deviation 0.1."""
    return 50 * jnp.sum(z["x"] ** 2)


def started(potential, z, temperature=1.0):
    """The start alone."""
    return nearer_start(potential, jax.value_and_grad(potential), z, temperature)[0]


def test_a_start_of_the_wrong_size_is_scaled():
    """Twenty standard deviations away: the free energy is lowest at a sixteenth."""
    z = {"x": 2 * random.normal(random.key(0), (1000,))}
    new = started(normal, z)
    np.testing.assert_allclose(new["x"], z["x"] / 16)


def test_a_start_with_an_infinite_potential_is_scaled():
    def potential(z):
        return jnp.where(jnp.max(jnp.abs(z["x"])) < 1, normal(z), jnp.inf)

    z = {"x": jnp.linspace(-5.0, 5.0, 1000)}
    new = started(potential, z)
    assert float(jnp.max(jnp.abs(new["x"]))) < 1


@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
def test_draws_of_the_target_stay(temperature):
    """At every temperature; scaled draws are no better than by n T."""
    z = {"x": 0.1 * temperature**0.5 * random.normal(random.key(0), (1000,))}
    new = started(normal, z, temperature)
    np.testing.assert_array_equal(new["x"], z["x"])


def without_derivative(far):
    """A normal whose potential has no derivative nearer to zero than `far`."""

    def potential(z):
        near = jnp.maximum(jnp.max(jnp.abs(z["x"])) - far, 0.0)
        return normal(z) + 0.0 * jnp.sqrt(near)

    return potential


@pytest.mark.parametrize(("far", "share"), [(0.1, 1 / 16), (0.7, 1 / 8), (7.0, 1)])
def test_a_scale_without_a_gradient_is_not_taken(far, share):
    """The best of the others instead; and where there is none, the start itself."""
    z = {"x": 2 * random.normal(random.key(0), (1000,))}
    z["x"] = z["x"].at[0].set(6.0)
    z["x"] = jnp.clip(z["x"], -6.0, 6.0)
    potential = without_derivative(far)
    new, energy, slope = nearer_start(potential, jax.value_and_grad(potential), z, 1.0)
    np.testing.assert_allclose(new["x"], share * z["x"])
    np.testing.assert_allclose(energy, potential(new))
    assert np.isfinite(slope["x"]).all() == (share < 1)


def test_nothing_finite_stays():
    z = {"x": jnp.ones(3)}
    new = started(lambda z: jnp.nan * jnp.sum(z["x"]), z)
    np.testing.assert_array_equal(new["x"], z["x"])


@pytest.mark.parametrize(
    ("sd", "expected"), [(1.0, 1.0), (10.0, 100.0), (0.0, 0.0)], ids=str
)
def test_heat(sd, expected):
    """In equilibrium 1, at ten standard deviations 100, at the mode 0."""
    curvature = jnp.geomspace(1.0, 100.0, 2000)
    gradient = MinibatchGradient(
        lambda key, num: {}, lambda x, batch: (curvature * x[0],), None
    )
    x = sd * random.normal(random.key(0), (2000,)) / jnp.sqrt(curvature)
    slope = (curvature * x,)
    heat = heat_at_start(random.key(1), gradient, (x,), slope, 1.0)
    np.testing.assert_allclose(heat, expected, rtol=0.2)


def test_heat_is_infinite_where_the_curvature_is_negative():
    gradient = MinibatchGradient(lambda key, num: {}, lambda x, batch: (-x[0],), None)
    x = jnp.ones(10)
    heat = jax.jit(heat_at_start, static_argnums=1)(
        random.key(0), gradient, (x,), (-x,), 1.0
    )
    assert np.isinf(heat)
