# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The descent: it arrives from anywhere, and it arrives warm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics import MinibatchGradient
from numpyro_pl.warmup.descent import Averages, Descent, descend

CURVATURE = jnp.geomspace(1.0, 1e4, 50)


def noisy_gradient(position, noise):
    """Of a harmonic potential, with noise of a variance for each coordinate."""
    (x,) = position
    return (CURVATURE * x + jnp.sqrt(10 * CURVATURE) * noise,)


GRADIENT = MinibatchGradient(
    lambda key, num: random.normal(key, (num, CURVATURE.size)), noisy_gradient, None
)


@jax.jit
def arrived(keys, start, temperature, active, blocks):
    """Potential of a chain for each key after the descent: one program for all."""

    def chain(key):
        position = (jnp.full(CURVATURE.shape, start),)

        def block(k, carry):
            first, last = (0.1 * 1e-3 ** (j / blocks) for j in (k, k + 1))
            descent = Descent(100, first, last, "gaussian", active)
            key_k = random.fold_in(key, k)
            return descend(key_k, GRADIENT, carry, temperature, descent)

        carry = position, Averages.none(position)
        (x,), _ = jax.lax.fori_loop(0, blocks, block, carry)
        return 0.5 * jnp.sum(CURVATURE * x**2)

    return jax.vmap(chain)(keys)


def energies(start, temperature=1.0, active=True, blocks=20):
    """Potential of 20 chains after the descent, relative to that of equilibrium."""
    keys = random.split(random.key(0), 20)
    chains = arrived(keys, start, temperature, active, blocks)
    return np.asarray(chains) / (0.5 * CURVATURE.size)


@pytest.mark.parametrize("start", [0.0, 1e-3, 1.0, 10.0])
def test_it_arrives_warm_from_anywhere(start):
    """
    Curvatures of 1 to 10^4: from a mode and from far away chains come to the energy of
    equilibrium, a quarter to twice as much, each of 20. (It covers about 25 units.)
    """
    energy = energies(start)
    print("energy", energy.min(), energy.max())
    assert (energy > 0.25).all()
    assert (energy < 2).all()


def test_without_thermal_noise_it_would_end_at_the_mode():
    """The check above sees it: only the minibatch noise is left."""
    energy = energies(1.0, temperature=1e-6)
    print("energy", energy.min(), energy.max())
    assert (energy < 0.25).all()


def test_a_chain_that_is_not_to_descend_stays():
    assert energies(2.0, active=False, blocks=2)[0] == pytest.approx(
        float(jnp.sum(CURVATURE) * 4 / CURVATURE.size)
    )
