# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The descent: it arrives from anywhere, and it arrives warm."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin
from numpyro_pl.dynamics import MinibatchGradient
from numpyro_pl.warmup.descent import Averages, Descent, descend, length_shares

CURVATURE = jnp.geomspace(1.0, 1e4, 50)


def noisy_gradient(position, noise):
    """Of a harmonic potential, with noise of a variance for each coordinate."""
    (x,) = position
    return (CURVATURE * x + jnp.sqrt(10 * CURVATURE) * noise,)


GRADIENT = MinibatchGradient(
    lambda key, num: random.normal(key, (num, CURVATURE.size)), noisy_gradient, None
)


@partial(jax.jit, static_argnames="gradient")
def arrived(keys, start, temperature, active, blocks, gradient=GRADIENT.grad):
    """Position of a chain for each key after the descent: one program for all."""
    gradient = GRADIENT._replace(grad=gradient)

    def chain(key):
        position = (jnp.full(CURVATURE.shape, start),)

        def block(k, carry):
            first, last = (0.1 * 1e-3 ** (j / blocks) for j in (k, k + 1))
            descent = Descent(100, first, last, "gaussian", active)
            key_k = random.fold_in(key, k)
            return descend(key_k, gradient, carry, temperature, descent)

        carry = position, Averages.none(position)
        (x,), _ = jax.lax.fori_loop(0, blocks, block, carry)
        return x

    return jax.vmap(chain)(keys)


def energies(start, temperature=1.0, active=True, blocks=20):
    """Potential of 20 chains after the descent, relative to that of equilibrium."""
    keys = random.split(random.key(0), 20)
    chains = np.asarray(arrived(keys, start, temperature, active, blocks))
    return (CURVATURE * chains**2).mean(1)


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


def without_gradient_beyond(limit, of_all):
    """
    The gradient with a mean of 1 for the first coordinate, and NaN where this is larger
    than a limit: for all coordinates, or for the first alone.
    """

    def grad(position, noise):
        (x,) = position
        (g,) = noisy_gradient((x.at[0].add(-1.0),), noise)
        lost = (x[0] > limit) & (of_all | (jnp.arange(x.size) == 0))
        return (jnp.where(lost, jnp.nan, g),)

    return grad


@pytest.mark.parametrize("of_all", [True, False])
@pytest.mark.parametrize("limit", [0.8, -1.5])
def test_it_comes_back_from_where_there_is_no_gradient(limit, of_all):
    """
    A function may have no derivative in a part of the space to which the potential
    falls. The chains are not there in the end, and the others have arrived, each of 20.
    """
    grad = without_gradient_beyond(limit, of_all)
    chains = arrived(random.split(random.key(0), 20), -2.0, 1.0, True, 20, grad)
    energy = (CURVATURE * chains**2)[:, 1:].mean(1)
    print("first", chains[:, 0].min(), chains[:, 0].max(), "energy", energy)
    assert (chains[:, 0] <= limit).all()
    assert (energy > 0.25).all()
    assert (energy < 2).all()


@pytest.mark.parametrize("value", [1.2, -0.05, 0.0])
def test_lengths_are_relative_to_the_weights_of_a_large_model(value):
    """1.2: the start within (-2, 2). An array of zeros has a tenth of the others."""
    position = ({"w": jnp.full(30_000, value), "b": jnp.zeros(10)},)
    (shares,) = length_shares(position)
    assert float(shares["w"]) == pytest.approx(min(max(abs(value), 0.0058), 1), 0.01)
    assert float(shares["b"]) == pytest.approx(max(0.1 * abs(value), 0.0058), 0.01)
    assert length_shares(({"w": jnp.ones(100)},)) is None


HIDDEN, CLASSES = 700, 5


def wide_network(x, y, batch=50):
    """ReLU also of the outputs: if all of them are dead, they stay so."""
    shapes = {"w0": (x.shape[1], HIDDEN), "b0": (HIDDEN,)}
    shapes |= {"w1": (HIDDEN, CLASSES), "b1": (CLASSES,)}
    w = {k: numpyro.sample(k, dist.Normal().expand(s)) for k, s in shapes.items()}
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        h = numpyro.subsample(x, event_dim=1)
        h = jax.nn.relu(h @ w["w0"] + w["b0"])
        logits = jax.nn.relu(h @ w["w1"] + w["b1"])
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=logits), obs=yb)


def test_a_wide_network_lives_from_weights_as_in_training():
    """
    At a low temperature, of 1,000 examples of five classes: nearly all are told apart
    after the descent. With lengths of 0.1 units two of five outputs die, and 0.6 are
    right.
    """
    keys = random.split(random.key(0), 4)
    centers = random.normal(keys[0], (CLASSES, 50))
    y = jnp.arange(1000) % CLASSES
    x = centers[y] + random.normal(keys[1], (1000, 50))
    start = {
        "w0": random.normal(keys[2], (50, HIDDEN)) * (2 / 50) ** 0.5,
        "w1": random.normal(keys[3], (HIDDEN, CLASSES)) * (2 / HIDDEN) ** 0.5,
        "b0": jnp.zeros(HIDDEN),
        "b1": jnp.ones(CLASSES),
    }
    kernel = PseudoLangevin(wide_network, temperature=0.01, num_steps=50, warn=False)
    mcmc = MCMC(kernel, num_warmup=50, num_samples=1, progress_bar=False)
    mcmc.warmup(random.key(1), x, y, init_params=start, collect_warmup=True)
    # The last draw of the descent.
    w = {k: v[9] for k, v in mcmc.get_samples().items()}
    h = jax.nn.relu(x @ w["w0"] + w["b0"])
    logits = jax.nn.relu(h @ w["w1"] + w["b1"])
    right = float(jnp.mean(logits.argmax(-1) == y))
    print("right", right)
    assert right > 0.9
