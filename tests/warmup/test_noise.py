# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Measurements of the minibatch noise, against noise of a known covariance."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from numpyro_pl.dynamics import MinibatchGradient, Partition, PseudoLangevinDynamics
from numpyro_pl.warmup.noise import estimate_noise, noise_batches, noise_eigenvalue

COVARIANCE = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.5]])
ROOT = jnp.asarray(np.linalg.cholesky(COVARIANCE), jnp.float32)


def halves(position, batch):
    """Halves of noise of the covariance above; their mean has half of it each."""
    (x,) = position
    return tuple((x + 2**0.5 * ROOT @ b,) for b in batch)


GRADIENT = MinibatchGradient(
    lambda key, num: random.normal(key, (num, 2, 3)),
    lambda x, b: halves(x, b)[0],
    halves,
)
POSITION = (jnp.ones(3),)


def test_variances_are_those_of_the_noise():
    """20,000 minibatches: a relative error of 1 % a variance; 4 of them."""
    found = jax.jit(lambda k: estimate_noise(k, GRADIENT, POSITION, 20_000))(
        random.key(0)
    )
    np.testing.assert_allclose(found[0], np.diag(COVARIANCE), rtol=0.04)


def test_a_gradient_without_noise_has_none():
    still = GRADIENT._replace(halves=None)
    (found,) = estimate_noise(random.key(0), still, POSITION, 4)
    assert (found == 0).all()
    partition = Partition([PseudoLangevinDynamics()])
    assert noise_eigenvalue(random.key(0), partition, still, POSITION, POSITION) == 0


def test_the_eigenvalue_is_that_of_the_scaled_covariance():
    """
    In units of the thermostat's noise, with 200 keys: within 4 standard errors and 5 %,
    by which a vector found from so few noisy products underestimates it.
    """
    dynamics = PseudoLangevinDynamics(0.1, friction=0.3)
    rates = jnp.array([0.1, 0.3, 0.2])
    unit = 2 * (1 - dynamics.kept_momentum)
    scale = np.sqrt(np.asarray(rates, np.float64) / unit)
    exact = np.linalg.eigvalsh(COVARIANCE * np.outer(scale, scale))[-1]
    partition = Partition([dynamics])

    def measure(key):
        return noise_eigenvalue(key, partition, GRADIENT, POSITION, (rates,))

    found = np.asarray(jax.jit(jax.vmap(measure))(random.split(random.key(0), 200)))
    error = found.std() / 200**0.5
    print(found.mean(), exact, error)
    assert abs(found.mean() - exact) < 0.05 * exact + 4 * error


def test_a_pass_over_the_data_within_bounds():
    assert [noise_batches(n) for n in (1, 16, 100, 5_000)] == [16, 16, 100, 256]
