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
Z = {
    "w": jnp.ones(3),
    "v": jnp.ones((3, 3)),
    "scale": jnp.ones(()),
    "corr": jnp.ones((3, 3)),
}


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


def series(z):
    """A level that moves from time to time."""
    return jnp.sum(lax.scan(lambda h, x: (h + z["scale"] * x, X @ h), z["w"], X)[1])


def chosen(z):
    return lax.cond(z["scale"] > 0, network, effects, z)


def correlated(z):
    """Effects of groups, times a factor of their covariance."""
    factor = jnp.exp(z["scale"]) * jnp.tril(z["corr"])
    return jnp.sum((z["v"] @ factor.T)[GROUP] * X)


@pytest.mark.parametrize("fn", [effects, factors, series])
def test_no_network(fn):
    assert not has_layers(fn, Z)


@pytest.mark.parametrize("fn", [network, compiled, convolution, recurrent, chosen])
def test_network(fn):
    assert has_layers(fn, Z)


def test_scales_and_correlations_are_no_weights():
    """Effects of groups that are not centred, with correlations (LKJ)."""
    assert has_layers(correlated, Z)
    assert not has_layers(correlated, Z, ("scale", "corr"))
    assert has_layers(network, Z, ("scale", "corr"))


def test_shapes_are_enough():
    shapes = jax.eval_shape(lambda: Z)
    assert has_layers(network, shapes)
    assert not has_layers(effects, shapes)
