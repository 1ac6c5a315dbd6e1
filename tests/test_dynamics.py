"""
Pseudo-Langevin dynamics on Gaussian targets with injected gradient noise, against exact
moments. Each check is also run on the dynamics broken on purpose, and must fail there.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics.integrate import GradientFns, integrate
from numpyro_pl.dynamics.pseudo_langevin import PseudoLangevinDynamics

CHAINS, BURN, STEPS = 8_000, 40, 48
FREQUENCIES = np.array([0.3, 0.8, 1.2])
FRACTIONS = np.array([0.0, 0.2, 0.5, 0.8])
W, F = (x.ravel() for x in np.meshgrid(FREQUENCIES, FRACTIONS))
CURVATURE = jnp.asarray(np.tile([0.5, 20.0, 3.0, 1.0], 3))


@dataclass(frozen=True)
class FullStep(PseudoLangevinDynamics):
    """Broken: the draw is read where the gradient is taken."""

    def read(self, x, u):
        return x

    def resume(self, z, u):
        return z


@dataclass(frozen=True)
class NoCompensation(PseudoLangevinDynamics):
    """Broken: white noise as if the minibatches made none."""

    def advance(self, rng_key, t, x, u, grad, step_size, variance, noise):
        zero = jax.tree.map(jnp.zeros_like, variance)
        return super().advance(rng_key, t, x, u, grad, step_size, zero, noise)


def noisy_gradient(curvature, variance):
    """Gradient of `x . (curvature x) / 2` with noise of the given variance."""
    product = (lambda x: curvature @ x) if curvature.ndim == 2 else curvature.__mul__
    sd = jnp.sqrt(variance)

    def halves(x, b):
        return tuple(product(x) + 2**0.5 * sd * b[i] for i in range(2))

    return GradientFns(
        lambda key, num: random.normal(key, (num, 2, len(sd))),
        lambda x, b: product(x) + sd * (b[0] + b[1]) / 2**0.5,
        halves,
    )


def final_draws(dynamics, step_size, curvature, variance, noise, every=1, seed=0):
    """Draws and temperatures of many short chains started at the target."""

    def chain(key):
        key_z, key_u, key = random.split(key, 3)
        precision = curvature if curvature.ndim == 2 else jnp.diag(curvature)
        root = jnp.linalg.cholesky(jnp.linalg.inv(precision) * dynamics.temperature)
        z = root @ random.normal(key_z, step_size.shape)
        u = dynamics.draw_displacement(key_u, step_size)
        # The momentum between two kicks has more than its thermal spread: a short burn
        # lets it settle before the temperature is read.
        v = variance
        for num, sub in zip((BURN, STEPS), random.split(key), strict=True):
            z, u, v, temperature = integrate(
                sub,
                dynamics,
                noisy_gradient(curvature, variance),
                z,
                u,
                step_size,
                v,
                num_steps=num,
                measure_every=every,
                variance_rate=1e-3,
                noise=noise,
            )
        return z, temperature

    keys = random.split(random.key(seed), CHAINS)
    z, temperature = jax.jit(jax.vmap(chain))(keys)
    return np.asarray(z, np.float64), np.asarray(temperature, np.float64)


def variance_z_scores(dynamics, noise="gaussian", every=1, seed=0):
    """Standard errors between the variances and the exact T / H, and temperatures."""
    c, t = dynamics.decay, dynamics.temperature
    step_size = (1 + c) * jnp.asarray(W) ** 2 / (2 * CURVATURE)
    variance = 2 * (1 - c) * t * jnp.asarray(F) / step_size
    z, temperature = final_draws(
        dynamics, step_size, CURVATURE, variance, noise, every, seed
    )
    exact = t / np.asarray(CURVATURE, np.float64)
    scores = ((z**2).mean(0) / exact - 1) / (2 / CHAINS) ** 0.5
    hot = (temperature.mean() - t) / (temperature.std() / CHAINS**0.5)
    return scores, hot


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("noise", ["gaussian", "signs"])
def test_variances_are_exact(temperature, noise, record_property):
    """
    Twelve variances (frequencies to 1.2, noise fractions to 0.8) and the temperature,
    each within 3 standard errors; the chance of a false alarm with random keys would be
    3 % a case, with these keys there is none.
    """
    dynamics = PseudoLangevinDynamics(friction=0.3, temperature=temperature)
    scores, hot = variance_z_scores(dynamics, noise)
    print("z-scores", scores.round(2), "temperature", hot.round(2))
    assert np.abs(scores).max() < 3
    assert abs(hot) < 3


def test_variances_are_exact_when_measured_every_eighth_step():
    scores, hot = variance_z_scores(
        PseudoLangevinDynamics(friction=0.3), every=8, seed=1
    )
    assert np.abs(scores).max() < 3
    assert abs(hot) < 3


def test_the_check_fails_without_noise_compensation():
    scores, hot = variance_z_scores(NoCompensation(friction=0.3))
    assert (scores[F >= 0.2] > 5).all(), scores
    assert hot > 5


def test_the_check_fails_when_read_at_the_full_step():
    scores, _ = variance_z_scores(FullStep(friction=0.3))
    exact = (1 / (1 - W**2 / 4) - 1) / (2 / CHAINS) ** 0.5
    assert (scores[W >= 0.8] > 5).all(), scores
    # And by as much as theory says.
    np.testing.assert_allclose(scores[W >= 0.8], exact[W >= 0.8], atol=6)


@pytest.mark.parametrize("friction", [0.02, 2.0])
def test_correlated_gaussian(friction):
    """Covariance of a correlated target, entries within 3.5 se (false alarm 3e-3)."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 3))
    precision = a @ a.T + np.eye(3)
    dynamics = PseudoLangevinDynamics(friction=friction, temperature=2.0)
    c = dynamics.decay
    step_size = jnp.full(3, (1 + c) * 0.64 / (2 * np.linalg.eigvalsh(precision)[-1]))
    variance = 2 * (1 - c) * 2.0 * jnp.array([0.1, 0.4, 0.0]) / step_size
    z, _ = final_draws(
        dynamics, step_size, jnp.asarray(precision), variance, "gaussian"
    )
    exact = 2.0 * np.linalg.inv(precision)
    gap = z.T @ z / CHAINS - exact
    se = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / CHAINS)
    assert np.abs(gap / se).max() < 3.5


def test_noise_variance_is_tracked():
    """The running variance finds the true one from a start 4 times too large."""
    dynamics = PseudoLangevinDynamics(friction=0.3)
    step_size, curvature = jnp.full(5, 0.1), jnp.ones(5)
    true = jnp.array([0.1, 0.5, 1.0, 2.0, 0.0])

    def chain(key):
        return integrate(
            key,
            dynamics,
            noisy_gradient(curvature, true),
            jnp.zeros(5),
            jnp.zeros(5),
            step_size,
            4 * true,
            num_steps=2000,
            measure_every=4,
            variance_rate=5e-3,
            noise="signs",
        )[2]

    v = jax.jit(jax.vmap(chain))(random.split(random.key(0), 200))
    gap = np.asarray(v.mean(0) - true)
    # 4 se, and what is left of the start: 3 * exp(-10).
    assert (np.abs(gap) <= 4 * np.asarray(v.std(0)) / 200**0.5 + 2e-4 * true).all()


def test_step_sizes_are_finite_where_there_is_no_noise():
    dynamics = PseudoLangevinDynamics(0.1, friction=0.2, max_frequency=1.0)
    step = dynamics.step_sizes(jnp.array([0.0, 4.0]), jnp.array([2.0, 1e-9]), 0.1)
    c = dynamics.decay
    np.testing.assert_allclose(step, [(1 + c) / 4, 2 * (1 - c) * 0.1 / 4], rtol=1e-6)
    np.testing.assert_allclose(
        dynamics.noise_fractions(step, jnp.array([0.0, 4.0])), [0.0, 0.1], rtol=1e-6
    )
