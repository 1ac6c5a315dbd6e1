# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What the control does with blocks and draws that go wrong."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_pl.warmup.control import (
    NO_RATIO,
    Control,
    after_block,
    first_control,
    hot,
    judged,
    remainder_rate,
    runaway,
    with_less_noise,
    with_remainder,
)


def control(factor=0.5, bound=1.0, reference=0.0):
    values = (jnp.asarray(float(v)) for v in (factor, bound, reference))
    return Control(*values, jnp.asarray(True), jnp.asarray(NO_RATIO), jnp.zeros(()))


@pytest.mark.parametrize(
    ("heat", "factor", "descending"),
    [(jnp.inf, 0.1, True), (10.0, 0.1, True), (1.0, 1.0, False), (0.01, 0.1, False)],
)
def test_a_start(heat, factor, descending):
    """Far away: careful, and descend. In equilibrium: neither. At a mode: careful."""
    start = first_control(jnp.asarray(3.0), jnp.asarray(heat))
    assert float(start.factor) == pytest.approx(factor)
    assert bool(start.descending) is descending
    assert float(start.reference) == 3.0


def test_a_good_block_grows_the_factor_up_to_its_bound():
    grown = after_block(control(0.5), False, False, 1.05)
    assert float(grown.factor) == pytest.approx(0.525)
    assert float(after_block(control(0.99), False, False, 1.05).factor) == 1.0
    bounded = after_block(control(0.5, bound=0.5), False, False, 1.05)
    assert float(bounded.factor) < 0.51


def test_a_bad_factor_is_not_tried_again_soon():
    """After a bad block: a third of it, and 100 blocks until it is reached again."""
    now, blocks = after_block(control(0.5), True, False, 1.05), 0
    assert float(now.factor) == pytest.approx(0.175)
    while float(now.factor) < 0.5:
        now, blocks = after_block(now, False, False, 1.05), blocks + 1
    assert 40 < blocks < 100


def test_the_factor_follows_when_less_noise_is_allowed():
    """The same steps where noise limits them, up to the full ones."""
    before = control(factor=0.02, bound=0.1)._replace(remainder=jnp.asarray(0.8))
    after = with_less_noise(before, 16.0)
    np.testing.assert_allclose([after.factor, after.bound], [0.32, 1.0], rtol=1e-6)
    assert float(after.remainder) == pytest.approx(0.2)


def test_a_hot_block_shrinks_the_factor_a_little():
    shrunk = after_block(control(0.5), False, True, 1.05).factor
    assert float(shrunk) == pytest.approx(0.4)


def test_limits_leave_out_chance():
    """A million blocks in equilibrium: none is bad, and hardly one is hot."""
    rng = np.random.default_rng(0)
    for size in (1, 3, 10, 100, 10_000):
        kinetic = jnp.asarray(rng.chisquare(size, 200_000) / size)
        assert not bool(runaway(kinetic, 1.0, 1.0, float(size), True))
        many = jax.vmap(partial(hot, temperature=1.0, sizes=float(size)))(kinetic)
        assert int(many.sum()) <= 3
    assert bool(hot(jnp.asarray(1.5), 1.0, 10_000.0))
    assert bool(runaway(jnp.asarray(3.5), 1.0, 1.0, 10_000.0, True))
    assert not bool(runaway(jnp.asarray(3.5), 1.0, 1.0, 10_000.0, False))
    assert bool(runaway(jnp.asarray(1.0), 60.0, 1.0, 500.0, True))
    assert not bool(runaway(jnp.asarray(1.0), 1090.0, 1.0, 500.0, False))
    assert bool(runaway(jnp.asarray(1.0), 1110.0, 1.0, 500.0, False))
    assert not bool(runaway(jnp.asarray(1.0), 60.0, 1.0, 10_000.0, True))


def test_a_potential_far_above_is_no_place_to_continue_from():
    """100 coordinates: 105 nats above the reference in warmup, 220 afterwards."""
    for height, warming, expected in (
        (104.0, True, False),
        (106.0, True, True),
        (219.0, False, False),
        (221.0, False, True),
        (jnp.nan, False, True),
    ):
        bad, after = judged(control(), jnp.asarray(height), 0.0, 100, 1.0, warming)
        assert bool(bad) is expected
        if bool(bad):
            assert float(after.reference) == 0.0
            assert (float(after.factor) < 0.5) is warming


@pytest.mark.parametrize("size", [10, 300, 10_000])
def test_equilibrium_is_not_far_above_a_mode(size):
    """
    A harmonic potential whose reference is its mode, as after a descent: no draw from
    equilibrium is bad, and the factor stays. (With a quarter of the size and 30 in
    place of three quarters, all draws of 300 coordinates and more were.)
    """
    potentials = np.random.default_rng(0).chisquare(size, 10_000) / 2
    bad, after = jax.vmap(lambda u: judged(control(), u, 0.0, float(size), 1.0, True))(
        jnp.asarray(potentials)
    )
    assert not bool(bad.any())
    np.testing.assert_allclose(after.factor, 0.5)


def test_the_reference_follows_down_at_once_and_up_slowly():
    _, down = judged(control(), jnp.asarray(-1000.0), 0.0, 100, 1.0, True)
    assert float(down.reference) == -1000.0
    _, up = judged(control(), jnp.asarray(50.0), 0.0, 100, 1.0, True)
    assert float(up.reference) == pytest.approx(5.0)


def test_a_chain_that_only_goes_back_recovers():
    """
    A potential that was 200 nats too low by the error of an estimate is forgotten,
    and the factor does not vanish.
    """
    state, count = control()._replace(reference=jnp.asarray(-200.0)), 0
    for _ in range(30):
        bad, state = judged(state, jnp.asarray(0.0), 0.0, 100, 1.0, True)
        count += int(bad)
    assert count < 10
    assert not bool(bad)
    tiny = control()._replace(factor=jnp.asarray(1e-30), bound=jnp.asarray(1e-30))
    assert float(after_block(tiny, True, False).factor) == pytest.approx(1e-8)


@pytest.mark.parametrize("size", [7, 600, 6000])
@pytest.mark.parametrize("needed", [0.0, 0.3, 0.8])
def test_the_remainder_balances_the_temperature(size, needed):
    """
    A chain whose temperature is `1 + 0.3 (needed - remainder)`, but for chance in every
    block. After many blocks its mean is within 0.01 of 1, whatever the size.
    """

    def block(now, noise):
        mean = 1 + 0.3 * (needed - now.remainder)
        return with_remainder(now, mean + noise, jnp.ones(()), rate), mean

    rate = remainder_rate(size, False)
    num = 400 * (5000 + size) // size
    noises = jax.random.normal(jax.random.key(0), num) * (2 / size) ** 0.5
    _, temperatures = jax.lax.scan(block, control(), noises)
    late = np.asarray(temperatures[num // 2 :])
    assert abs(late.mean() - 1) < 0.01
    assert late.std() < 0.02


@pytest.mark.parametrize(("kinetic", "expected"), [(1e9, 1.0), (-1e9, 0.0)])
def test_the_remainder_stays_a_share(kinetic, expected):
    after = with_remainder(control(), jnp.asarray(kinetic), jnp.ones(()), 0.6)
    assert float(after.remainder) == expected
