# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
How a frame is set, on a normal target whose curvature is known and whose minibatch
noise grows with the distance from a point.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from numpyro_pl.dynamics import MinibatchGradient
from numpyro_pl.warmup.axes import whitening
from numpyro_pl.warmup.frame import (
    NUM_PLACES,
    Frame,
    FrameSettings,
    Seen,
    first_frame,
    has_left,
)
from numpyro_pl.warmup.pace import at_pace, relaxation_steps
from numpyro_pl.warmup.pooling import OneChain
from numpyro_pl.warmup.reframing import (
    Target,
    _places,
    whitened_anew,
)

NUM = 4
MEAN = jnp.array([5.0, -3.0, 0.1, 0.0])
SD = np.array([1e-3, 1.0, 30.0, 0.1])


def covariance():
    """Strongly correlated coordinates of very different units."""
    root = np.linalg.qr(np.random.default_rng(0).normal(size=(NUM, NUM)))[0]
    correlated = root @ np.diag([1.0, 0.5, 0.02, 1.5]) @ root.T
    scale = SD / np.sqrt(np.diag(correlated))
    return correlated * scale[:, None] * scale


HESSIAN = jnp.asarray(np.linalg.inv(covariance()), jnp.float32)


def settings(**changes):
    default = FrameSettings(
        anchored="auto",
        moving=True,
        axes=np.ones((NUM, NUM), np.float32),
        sets_friction=True,
        sets_steps=True,
        num_steps=500,
    )
    return default._replace(**changes)


def target(noise_far=0.0, noise_near=0.0):
    """
    Noise of the plain gradient: `noise_near` in whitened units, wherever the chain is.
    Relative to the anchor: `noise_far` instead.
    """
    root = jnp.linalg.cholesky(HESSIAN)

    def gradient(frame=None):
        plain = frame is None
        basis = jnp.eye(NUM) if plain else frame.basis
        center = jnp.zeros(NUM) if plain else frame.center[0]
        share = 0.0 if plain else frame.share
        sd = jnp.sqrt(share * noise_far + (1 - share) * noise_near)

        def grad(y, noise):
            x = center + basis @ y[0]
            slope = HESSIAN @ (x - MEAN) + root @ (sd * noise)
            return (basis.T @ slope,)

        def halves(y, noise):
            return tuple(grad(y, 2**0.5 * n) for n in noise)

        return MinibatchGradient(
            lambda key, num: random.normal(key, (num, 2, NUM)),
            lambda y, noise: grad(y, noise.sum(0) / 2**0.5),
            halves,
        )

    def full(x):
        step = x[0] - MEAN
        return 0.5 * step @ HESSIAN @ step, (HESSIAN @ step,)

    return Target(full, lambda x: HESSIAN, gradient, 0.0, 0.5, jnp.asarray(1.0))


def seen_draws(num=200):
    """What draws of the target are like."""
    seen = Seen.none((jnp.zeros(NUM),), white=True)
    draws = np.random.default_rng(1).multivariate_normal(MEAN, covariance(), num)
    for x in jnp.asarray(draws, jnp.float32):
        seen = seen.with_draw((x,), jnp.asarray(True))
    return seen, draws


def set_anew(how, aim, **changes):
    start = (MEAN + jnp.asarray(SD, jnp.float32),)
    frame = first_frame(how, start, aim.full(start), None, 0.01)
    frame = frame._replace(**changes)
    return whitened_anew(random.key(0), frame, how, start, aim, OneChain())


def test_axes_make_the_curvature_one():
    white = set_anew(settings(), target(0.01, 10.0))
    basis = np.asarray(white.frame.basis, np.float64)
    np.testing.assert_allclose(
        basis.T @ np.asarray(HESSIAN, np.float64) @ basis, np.eye(NUM), atol=0.02
    )
    inverse = np.asarray(white.frame.inverse, np.float64)
    np.testing.assert_allclose(basis @ inverse, np.eye(NUM), atol=1e-2)
    assert float(white.steepest) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("far", "share"), [(0.01, 1.0), (4.0, 1.0), (6.0, 0.0)])
def test_the_anchor_is_taken_where_it_halves_the_noise(far, share):
    """And the noise is that with or without it: 10 without, within 40 %."""
    white = set_anew(settings(), target(far, 10.0))
    assert float(white.frame.share) == share
    noise = np.diagonal(np.asarray(white.noise.mean(0)))
    np.testing.assert_allclose(noise, far if share else 10.0, rtol=0.4)


@pytest.mark.parametrize(("anchored", "share"), [("never", 0.0), ("always", 1.0)])
def test_the_user_decides(anchored, share):
    white = set_anew(settings(anchored=anchored), target(6.0, 10.0))
    assert float(white.frame.share) == share


def test_the_anchor_moves_to_the_mean_of_the_draws():
    seen, draws = seen_draws()
    white = set_anew(settings(), target(0.01, 10.0), seen=seen)
    np.testing.assert_allclose(white.frame.center[0], draws.mean(0), rtol=1e-3)
    assert int(white.frame.seen.num_draws) == 0
    np.testing.assert_array_equal(white.frame.curvature, HESSIAN)
    step = np.asarray(white.frame.center[0], float) - np.asarray(MEAN, float)
    slope = np.asarray(HESSIAN, float) @ step
    np.testing.assert_allclose(white.frame.slope[0], slope, rtol=0.01, atol=0.01)


def test_an_anchor_of_the_user_stays():
    how = settings(anchored="always", moving=False)
    white = set_anew(how, target(0.01, 10.0))
    np.testing.assert_array_equal(
        white.frame.center[0], MEAN + jnp.asarray(SD, jnp.float32)
    )


@pytest.mark.parametrize(
    ("noise", "friction", "steps"),
    [(1e-4, 0.5, 10), (0.25, 0.2, 30), (1e4, 0.01, 500)],
)
def test_friction_and_steps_follow_the_noise(noise, friction, steps):
    """Friction `sqrt(0.01 T / v)` within its bounds, and `5 / friction` steps."""
    white = set_anew(settings(anchored="never"), target(0.0, noise))
    assert float(white.frame.friction) == pytest.approx(friction, rel=0.2)
    assert abs(int(white.frame.num_steps) - steps) <= 10


def test_settings_of_the_user_are_left_alone():
    how = settings(sets_friction=False, sets_steps=False, num_steps=77)
    frame = set_anew(how, target(0.0, 1e-4)).frame
    assert float(frame.friction) == pytest.approx(0.01)
    assert int(frame.num_steps) == 77


def test_axes_are_mixed_only_where_the_user_says():
    axes = np.eye(NUM, dtype=np.float32)
    axes[:2, :2] = 1.0
    frame = set_anew(settings(axes=axes), target(0.01, 10.0)).frame
    curvature = np.asarray(frame.basis.T @ (HESSIAN * axes) @ frame.basis)
    np.testing.assert_allclose(curvature, np.eye(NUM), atol=0.02)
    basis = np.abs(np.asarray(frame.basis)) > 0
    assert not basis[:2, 2:].any() or not basis[2:, :2].any() or basis.sum() <= 8


def test_curvature_downwards_counts_as_upwards():
    matrix = jnp.array([[2.0, 0.0], [0.0, -0.5]])
    basis, inverse = whitening(matrix)
    np.testing.assert_allclose(np.abs(basis.T @ matrix @ basis), np.eye(2), atol=1e-5)
    np.testing.assert_allclose(basis @ inverse, np.eye(2), atol=1e-5)


def test_a_flat_coordinate_has_a_finite_axis():
    basis, inverse = whitening(jnp.diag(jnp.array([1.0, 0.0])))
    assert np.isfinite(basis).all()
    assert np.isfinite(inverse).all()


@pytest.mark.parametrize(("correlation", "steps"), [(0.0, 0.0), (0.9, 95.0)])
def test_correlated_draws_tell_of_a_slow_coordinate(correlation, steps):
    """
    10 steps a draw, of a coordinate with this correlation of successive draws: it
    forgets its past in `-10 / log 0.9` = 95 steps, within 30 % (500 draws).
    """
    generator = np.random.default_rng(0)
    x = np.zeros((500, NUM))
    for t in range(1, 500):
        fresh = (1 - correlation**2) ** 0.5 * generator.normal(size=NUM)
        x[t] = correlation * x[t - 1] + fresh

    def with_draw(seen, x):
        return seen.with_draw((x,), jnp.asarray(True)), None

    start = Seen.none((jnp.asarray(x[0]),), white=True)
    seen, _ = jax.lax.scan(with_draw, start, jnp.asarray(x, jnp.float32))
    known = np.corrcoef(x[:-1, 0], x[1:, 0])[0, 1]
    np.testing.assert_allclose(seen.autocorrelation()[0][0], known, atol=0.02)
    frame = first_frame(
        settings(), (jnp.zeros(NUM),), (0.0, (jnp.zeros(NUM),)), None, 0.5
    )
    frame = frame._replace(seen=seen, num_steps=jnp.asarray(10))
    slowest = relaxation_steps(frame, settings(), OneChain())
    assert float(slowest) == pytest.approx(steps, rel=0.3)


@pytest.mark.parametrize(
    ("slowest", "friction", "steps"),
    [(0.0, 0.3, 20), (20.0, 0.245, 20), (4000.0, 0.02, 500), (400.0, 0.055, 280)],
)
def test_a_slow_coordinate_lowers_the_friction(slowest, friction, steps):
    """
    Draws were made at a friction of 0.3. Its own frequency is `sqrt(0.3 / t)`; twice
    that, but at least 0.02, is the friction.
    """
    value = 0.0, (jnp.zeros(NUM),)
    frame = first_frame(settings(), (jnp.zeros(NUM),), value, None, 0.3)
    new = at_pace(frame, settings(), jnp.asarray(0.3), jnp.asarray(slowest))
    assert float(new.friction) == pytest.approx(friction, rel=0.02)
    assert abs(int(new.num_steps) - steps) <= 10


@pytest.mark.parametrize(("noise", "left"), [(8.0, False), (12.0, True)])
def test_more_noise_than_without_the_anchor(noise, left):
    """The noise without it is 10, known to 10 %."""
    frame = set_anew(settings(), target(0.01, 10.0)).frame
    assert float(frame.plain_noise) == pytest.approx(10.0, rel=0.1)
    assert bool(has_left(frame, (jnp.full(NUM, noise),))) is left
    assert not has_left(frame._replace(share=0.0), (jnp.full(NUM, 1e9),))


def test_draws_that_do_not_count():
    seen = Seen.none((jnp.ones(NUM),), white=True)
    same = seen.with_draw((jnp.full(NUM, jnp.nan),), jnp.asarray(False))
    assert int(same.num_draws) == 0
    np.testing.assert_array_equal(same.mean()[0], 1.0)


def test_a_frame_is_a_tree_of_arrays():
    frame = first_frame(settings(), (MEAN,), (jnp.asarray(0.0), (MEAN,)), None, 0.01)
    assert isinstance(jax.tree.map(lambda x: x, frame), Frame)
    assert all(hasattr(x, "dtype") for x in jax.tree.leaves(frame))


def test_noise_is_measured_at_the_last_draws():
    """Before there are enough of them, at thermal displacements from the mean."""
    white = set_anew(settings(), target(0.01, 10.0)).frame
    seen, draws = seen_draws(40)
    places = _places(random.key(0), white, seen, target())
    expected = (draws[-NUM_PLACES:] - np.asarray(white.center[0])) @ white.inverse.T
    order = np.argsort(np.asarray(expected)[:, 0])
    found = np.asarray(places)[np.argsort(np.asarray(places)[:, 0])]
    np.testing.assert_allclose(found, np.asarray(expected)[order], rtol=1e-3, atol=1e-3)
    few = Seen.none((MEAN,), white=True).with_draw((MEAN + 1e6,), jnp.asarray(True))
    thermal = np.asarray(_places(random.key(0), white, few, target()))
    assert np.abs(thermal).max() < 5.0
    assert np.square(thermal).mean() == pytest.approx(1.0, abs=0.6)
