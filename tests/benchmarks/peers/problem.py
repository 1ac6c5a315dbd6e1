# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
What every competitor samples: the network of `examples/bnn_digits.py`, its prior and
likelihood as functions, the start of the chains, and what is recorded of their draws.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from bnn_digits import BATCH, SHAPES, logits, model, probabilities
from jax import random

from numpyro_pl import datasets

Tree = dict[str, Any]

START_RADIUS = 2.0
"""Weights start uniformly between -2 and 2, NumPyro's `init_to_uniform`."""


class Sums(NamedTuple):
    """
    Sums over draws, of each chain.

    - **probs** - class probabilities of the test images, of shape (chain, points,
      classes).
    - **squares** - mean square of all weights of a site, of shape (chain, site), sites
      in the order of `SHAPES`. It is the same for any order and sign of the hidden
      units.
    - **squares_2** - the square of that.
    """

    probs: jax.Array
    squares: jax.Array
    squares_2: jax.Array


def data() -> datasets.Classification:
    return datasets.digits()


def batch_model():
    """The model with a plate of minibatches."""
    return partial(model, subsample_size=BATCH)


def log_prior(weights: Tree) -> jax.Array:
    """Of standard normal weights, without its constant."""
    return -0.5 * sum(jnp.sum(w**2) for w in weights.values())


def log_likelihood(weights: Tree, row: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Of one image and its class."""
    x, y = row
    return jax.nn.log_softmax(logits(weights, x))[y]


def log_density(weights: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
    """Of the posterior, on all images, without the constant of the prior."""
    log_probs = jax.nn.log_softmax(logits(weights, x))
    return log_prior(weights) + jnp.take_along_axis(log_probs, y[:, None], 1).sum()


def starts(key: jax.Array, num_chains: int) -> Tree:
    """First weights of every chain, for samplers that do not draw them themselves."""
    keys = dict(zip(SHAPES, random.split(key, len(SHAPES)), strict=True))
    return {
        site: random.uniform(
            keys[site], (num_chains, *shape), minval=-START_RADIUS, maxval=START_RADIUS
        )
        for site, shape in SHAPES.items()
    }


@jax.jit
def sums(draws: Tree, x_test: jax.Array) -> Sums:
    """
    What is recorded of draws.

    :param draws: weights by site, of shape (chain, draw, ...).
    """

    def add(total: Sums, weights: Tree) -> tuple[Sums, None]:
        squares = jnp.stack([jnp.mean(weights[site] ** 2) for site in SHAPES])
        new = Sums(probabilities(weights, x_test), squares, squares**2)
        return jax.tree.map(jnp.add, total, new), None

    classes, sites = SHAPES["b2"][0], jnp.zeros(len(SHAPES))
    zeros = Sums(jnp.zeros((x_test.shape[0], classes)), sites, sites)
    return jax.vmap(lambda weights: jax.lax.scan(add, zeros, weights)[0])(draws)
