# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Friction from the examples on a conjugate regression with correlated columns, where the
minibatch noise is concentrated in one direction: temperatures along every eigenvector
of the posterior, which are exactly T.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import PseudoLangevin, datasets
from numpyro_pl.dynamics import (
    MinibatchGradient,
    Phase,
    PseudoLangevinDynamics,
    Trajectory,
    integrate,
)
from numpyro_pl.dynamics.friction import slowed_gradient

pytestmark = pytest.mark.statistical

CHAINS = 64


def in_two_plates(x, y):
    """`linear_model` with its rows in two plates of different size and batch."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    for name, rows, batch in (("a", slice(0, 8000), 120), ("b", slice(8000, None), 40)):
        x_part, y_part = x[rows], y[rows]
        with numpyro.plate(name, x_part.shape[0], subsample_size=batch) as ind:
            mean = x_part[ind] @ w
            numpyro.sample(f"y_{name}", dist.Normal(mean, 1.0), obs=y_part[ind])


def eigenvector_temperatures(
    noise_fraction, friction, temperature=1.0, model=linear_model
):
    """
    Temperatures along the eigenvectors of the posterior relative to the target, and
    their standard errors from independent chains.
    """
    data = datasets.linear_regression(0, 10_000, 5, correlation=0.9)
    kernel = PseudoLangevin(
        model,
        noise_fraction=noise_fraction,
        temperature=temperature,
        num_steps=100,
        example_friction=friction,
        # Here the noise is to be large, and its directions those of the model.
        control_variate=None,
        dense_mass=False,
    )
    mcmc = MCMC(
        kernel,
        num_warmup=100,
        num_samples=400,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), data.x, data.y)
    w = np.asarray(mcmc.get_samples(group_by_chain=True)["w"], float)
    values, vectors = np.linalg.eigh(temperature * data.posterior_covariance)
    each = (((w - data.posterior_mean) @ vectors) ** 2).mean(1) / values
    mean, error = each.mean(0), each.std(0) / CHAINS**0.5
    print("temperatures", mean.round(3), "errors", error.round(3))
    return mean, error


@pytest.mark.parametrize(
    ("noise_fraction", "temperature"), [(0.2, 1.0), (0.5, 1.0), (0.5, 4.0), (1.0, 0.5)]
)
def test_every_direction_has_the_target_temperature(noise_fraction, temperature):
    """
    Within 3.5 standard errors and 3 %, which the first order leaves at a noise fraction
    of 1; five directions of four cases: a false alarm in a hundred runs of each.
    """
    mean, error = eigenvector_temperatures(noise_fraction, True, temperature)
    assert (error < 0.06).all()
    np.testing.assert_array_less(np.abs(mean - 1), 3.5 * error + 0.03)


def test_plates_beside_each_other():
    """Each has friction of its own, within the same limits."""
    mean, error = eigenvector_temperatures(0.5, True, model=in_two_plates)
    assert (error < 0.06).all()
    np.testing.assert_array_less(np.abs(mean - 1), 3.5 * error + 0.03)


def test_without_friction_one_direction_is_hot_and_the_others_are_cold():
    """The diagonal compensation alone; the check above fails by far."""
    mean, _ = eigenvector_temperatures(0.5, False)
    assert mean.max() > 2
    assert np.sort(mean)[-2] < 0.75


ROWS, COLUMNS, BATCH = 10_000, 5, 100


def one_pass_temperatures(noise_fraction, temperature=1.0, factor=1.0, measured=8):
    """
    The same of the dynamics alone, as in models of more than 20,000 coordinates:
    gradient and friction in one reverse pass, in all steps but the measured ones.

    :param factor: the friction is multiplied by this; 0 for none, and a thermostat that
        leaves out the diagonal of the noise.
    """
    data = datasets.linear_regression(0, ROWS, COLUMNS, correlation=0.9)
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    mean = jnp.asarray(data.posterior_mean, jnp.float32)
    values, vectors = np.linalg.eigh(temperature * data.posterior_covariance)
    dynamics = PseudoLangevinDynamics(
        noise_fraction, temperature=temperature, max_frequency=0.5
    )
    variance = jnp.var(ROWS * x * (y - x @ mean)[:, None], 0) / BATCH
    scales = dynamics.choose_scales(variance, jnp.zeros(COLUMNS))

    def parts(w, rows):
        scaled = (ROWS / rows.shape[0]) * 0.5 * (y[rows] - x[rows] @ w) ** 2
        return scaled.sum() + 0.5 * jnp.sum(w**2), scaled

    def gradient(w, rows):
        return jax.grad(lambda w: parts(w, rows)[0])(w)

    def slowed(w, rows, u, temperature):
        if factor == 0:
            return gradient(w, rows)
        return slowed_gradient(lambda w: parts(w, rows), w, u, temperature / factor)

    minibatches = MinibatchGradient(
        lambda key, num: random.randint(key, (num, BATCH), 0, ROWS),
        gradient,
        lambda w, rows: tuple(gradient(w, half) for half in rows.reshape(2, -1)),
        friction=lambda *_: pytest.fail("this is of the measured steps alone"),
        slowed=slowed,
    )
    plan = Trajectory(40, measured, 0.0, remainder=float(factor == 0))

    def chain(key):
        def draw(phase, key):
            phase, _ = integrate(key, dynamics, minibatches, phase, scales, plan)
            return phase, ((phase.position - mean) @ vectors) ** 2

        start, speed, steps = random.split(key, 3)
        sd = jnp.asarray(vectors * np.sqrt(values), jnp.float32)
        warm = jnp.sqrt(2 * temperature * scales / (1 + dynamics.kept_momentum))
        phase = Phase(
            mean + sd @ random.normal(start, (COLUMNS,)),
            warm * random.normal(speed, (COLUMNS,)),
            variance,
        )
        # Chains move the more slowly, the smaller the noise fraction.
        num_draws = max(500, round(200 / noise_fraction))
        squares = jax.lax.scan(draw, phase, random.split(steps, num_draws))[1]
        return squares.mean(0) / values

    each = np.asarray(jax.jit(jax.vmap(chain))(random.split(random.key(0), CHAINS)))
    mean, error = each.mean(0), each.std(0) / CHAINS**0.5
    print("temperatures", mean.round(3), "errors", error.round(3))
    return mean, error


@pytest.mark.parametrize(
    ("noise_fraction", "temperature"), [(0.2, 1.0), (0.5, 1.0), (0.5, 4.0), (1.0, 1.0)]
)
def test_one_reverse_pass_is_enough(noise_fraction, temperature):
    """As above; with half and twice the friction one direction is off by 0.3."""
    mean, error = one_pass_temperatures(noise_fraction, temperature)
    assert (error < 0.08).all()
    np.testing.assert_array_less(np.abs(mean - 1), 3.5 * error + 0.03)


@pytest.mark.parametrize(
    ("factor", "least", "most"), [(0.5, 1.3, 2.0), (2.0, 0.4, 0.8), (0.0, 2.0, 4.0)]
)
def test_another_friction_is_seen(factor, least, most):
    """Along the direction of the noise; the check above fails by far."""
    mean, _ = one_pass_temperatures(0.5, factor=factor)
    noisy = mean[np.argmax(np.abs(mean - 1))]
    assert least < noisy < most
