# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Which models are networks."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from numpyro_pl.model.layers import has_layers

X = jnp.ones((6, 3))
GROUP = jnp.array([0, 1, 1, 0, 2, 2])
Z = {"w": jnp.ones(3), "v": jnp.ones((3, 3)), "scale": jnp.ones(())}


def effects(z):
    """A mean, columns, and effects of groups with a scale, not centred."""
    return jnp.sum(X @ z["w"] + jnp.exp(z["scale"]) * z["w"][GROUP])


def factors(z):
    """Products of single values are no layers."""
    return jnp.sum(z["v"][GROUP] * z["w"])


def network(z):
    return jnp.sum(jnp.tanh(X @ z["v"]) @ z["w"])


def compiled(z):
    return jax.jit(network)(z)


def convolution(z):
    image, kernel = jnp.exp(z["v"])[None, None], z["v"][None, None]
    return jnp.sum(lax.conv_general_dilated(image, kernel, (1, 1), "SAME"))


def recurrent(z):
    return jnp.sum(lax.scan(lambda h, x: (z["v"] @ h + x, None), z["w"], X)[0])


@pytest.mark.parametrize("fn", [effects, factors])
def test_no_network(fn):
    assert not has_layers(fn, Z)


@pytest.mark.parametrize("fn", [network, compiled, convolution, recurrent])
def test_network(fn):
    assert has_layers(fn, Z)


def test_shapes_are_enough():
    shapes = jax.eval_shape(lambda: Z)
    assert has_layers(network, shapes)
    assert not has_layers(effects, shapes)
