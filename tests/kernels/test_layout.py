# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Whitened coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.kernels.layout import Layout, WhitenedLayout

POSITION = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[3.0], [4.0]])}


@pytest.fixture
def white():
    layout = Layout(POSITION, [0, 0], vectors=True)
    basis = random.normal(random.key(0), (4, 4))
    center = jnp.array([0.5, -1.0, 2.0, 0.0])
    return WhitenedLayout(layout, center, basis, jnp.linalg.inv(basis)), basis


def test_back_and_forth(white):
    layout, _ = white
    (y,) = layout.pack(POSITION)
    assert y.shape == (4,)
    again = layout.unpack((y,))
    for name, value in POSITION.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-4)


def test_gradients_are_those_of_the_whitened_coordinates(white):
    layout, basis = white
    weight = jnp.arange(1.0, 5.0)

    def energy(z):
        return weight[:2] @ z["a"] + weight[2:] @ z["b"][:, 0]

    (slope,) = jax.grad(lambda groups: energy(layout.unpack(groups)))(
        layout.pack(POSITION)
    )
    np.testing.assert_allclose(slope, basis.T @ weight, rtol=1e-5)


@pytest.mark.parametrize("position", [{"a": jnp.ones(3)}, {"a": jnp.ones(())}])
def test_one_site_becomes_a_vector_too(position):
    layout = Layout(position, [0], vectors=True)
    (vector,) = layout.pack(position)
    assert vector.ndim == 1
    np.testing.assert_array_equal(layout.unpack((vector,))["a"], position["a"])
