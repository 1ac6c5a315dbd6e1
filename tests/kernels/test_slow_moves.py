# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Which models are moved along slow directions, and what happens when moves fail."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from everyday_models import rows, vector
from jax import random
from numpyro.infer import MCMC
from ordinary_models import rows_of

from numpyro_pl import PseudoLangevin
from numpyro_pl.kernels import transition
from numpyro_pl.kernels.slow_moves import moved_along
from numpyro_pl.warmup.pooling import OneChain

GROUPS, NUM = 30, 200
RNG = np.random.default_rng(0)
DATA = rows(RNG.integers(0, GROUPS, NUM), RNG.normal(size=NUM))


def effects(group, y, batch=20):
    mean = numpyro.sample("mean", dist.Normal(0, 10))
    effect = vector("effect", 3, GROUPS)
    with numpyro.plate("data", len(y), subsample_size=batch):
        gb, yb = rows_of(group, y)
        numpyro.sample("y", dist.Normal(mean + effect[gb], 1), obs=yb)


def network(group, y, batch=20):
    w, v = vector("w", 1, GROUPS), vector("v", 1, GROUPS)
    with numpyro.plate("data", len(y), subsample_size=batch):
        gb, yb = rows_of(group, y)
        hidden = jnp.tanh((gb[:, None] / GROUPS) * w)
        numpyro.sample("y", dist.Normal(hidden @ v, 1), obs=yb)


def after_warmup(kernel, num_warmup=40, num_chains=None):
    """The state of a kernel after its warmup."""
    key = random.key(0)
    if num_chains is not None:
        key = random.split(key, num_chains)
    state = kernel.init(key, num_warmup, model_args=DATA)
    sample = jax.jit(lambda s: kernel.sample(s, DATA, {}))
    for _ in range(num_warmup):
        state = sample(state)
    return state


def num_directions(state):
    """Number of slow directions of each chain."""
    return np.any(np.asarray(state.slow.vectors) != 0, -1).sum(-1)


@pytest.mark.parametrize("num_chains", [None, 3])
def test_a_mean_and_effects_have_one_slow_direction(num_chains):
    """The mean goes up while all effects go down."""
    state = after_warmup(PseudoLangevin(effects, warn=False), num_chains=num_chains)
    assert (num_directions(state) == 1).all()
    vector = np.asarray(state.slow.vectors).reshape(-1, GROUPS + 1)[0]
    *effect, mean = vector * np.sign(vector[-1])
    np.testing.assert_allclose(effect, -mean, rtol=0.5)


def test_networks_are_not_moved():
    state = PseudoLangevin(network).init(random.key(0), 10, model_args=DATA)
    assert state.slow == ()


def test_the_users_wish_is_followed():
    kernel = PseudoLangevin(effects, dense_mass=False)
    assert kernel.init(random.key(0), 10, model_args=DATA).slow == ()


def test_whitened_coordinates_need_no_moves():
    kernel = PseudoLangevin(effects, dense_mass=True)
    assert kernel.init(random.key(0), 10, model_args=DATA).slow == ()


def run_after_warmup():
    """A run with a slow direction, and the state of its chain."""
    kernel = PseudoLangevin(effects, warn=False)
    state = after_warmup(kernel)
    binding, data = kernel._bind(DATA, {})
    return kernel._run(binding, data, state.z), state


def test_only_the_slow_direction_moves():
    """In units of the vector by about one, and in no other direction."""
    run, state = run_after_warmup()
    new = moved_along(run, 100, OneChain(), lambda fn: fn, state)
    step = run.layout.pack(new.z)[0] - run.layout.pack(state.z)[0]
    vector = state.slow.vectors[np.any(np.asarray(state.slow.vectors) != 0, -1)][0]
    size = step @ vector / (vector @ vector)
    assert 0.01 < abs(size) < 5
    np.testing.assert_allclose(step, size * vector, atol=1e-5)
    assert not new.diverging


@pytest.mark.parametrize(("block", "shrinks"), [(1, True), (100, False)])
def test_moves_that_fail_are_undone(block, shrinks):
    """Steps a thousand times too long: the chain stays, the warmup shortens them."""
    run, state = run_after_warmup()
    slow = state.slow._replace(vectors=1e3 * state.slow.vectors)
    new = moved_along(run, block, OneChain(), lambda fn: fn, state._replace(slow=slow))
    assert new.diverging
    for before, after in zip(
        jax.tree.leaves(state.z), jax.tree.leaves(new.z), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    ratio = np.asarray(new.slow.scales[0] / slow.scales[0])
    np.testing.assert_allclose(ratio, 0.35 if shrinks else 1.0, rtol=1e-5)
    assert np.isfinite(np.asarray(new.slow.noise_variance[0])).all()


def all_rows(group, y):
    effects(group, y, batch=None)


def test_moves_without_minibatches_keep_the_target_at_its_temperature():
    """
    The target is normal: 20,000 exact draws of T = 2 along the slow direction, with all
    other coordinates as they are, keep their mean and variance within 4 standard errors
    after a move (a false alarm in 8,000), and forget where they were. Seen failing with
    the potential not divided by T, and with moves that are all accepted at steps of
    twice the length.
    """
    kernel = PseudoLangevin(all_rows, temperature=2.0, warn=False)
    state = after_warmup(kernel)
    assert num_directions(state) == 1
    some = np.any(np.asarray(state.slow.vectors) != 0, -1)
    vector = state.slow.vectors[some][0]
    run = kernel._run(*kernel._bind(DATA, {}), state.z)
    (origin,) = run.layout.pack(state.z)

    def energy(size):
        z = run.layout.unpack((origin + size * vector,))
        return run.binding.potential.full(z, *run.data) / 2

    slope, curvature = jax.grad(energy)(0.0), jax.grad(jax.grad(energy))(0.0)
    mean, sd = -slope / curvature, curvature**-0.5
    num = 20_000
    before = mean + sd * random.normal(random.key(3), (num,))
    keys = random.split(random.key(4), num)

    def moved(size, key):
        z = run.layout.unpack((origin + size * vector,))
        start = state._replace(z=z, rng_key=key)
        new = moved_along(run, 10**6, OneChain(), lambda fn: fn, start)
        return (run.layout.pack(new.z)[0] - origin) @ vector / (vector @ vector)

    after = np.asarray(jax.jit(jax.vmap(moved))(before, keys), float)
    scaled = (after - float(mean)) / float(sd)
    assert abs(scaled.mean()) < 4 / num**0.5
    assert abs((scaled**2).mean() - 1) < 4 * (2 / num) ** 0.5
    assert abs(np.corrcoef(before, after)[0, 1]) < 0.5


@pytest.mark.parametrize(("block", "shrinks"), [(1, True), (100, False)])
def test_moves_without_minibatches_that_fail_are_undone(block, shrinks):
    """Steps a thousand times too long are refused, which is no divergence."""
    kernel = PseudoLangevin(all_rows, warn=False)
    state = after_warmup(kernel)
    run = kernel._run(*kernel._bind(DATA, {}), state.z)
    slow = state.slow._replace(vectors=1e3 * state.slow.vectors)
    new = moved_along(run, block, OneChain(), lambda fn: fn, state._replace(slow=slow))
    assert not new.diverging
    jax.tree.map(np.testing.assert_array_equal, state.z, new.z)
    ratio = np.asarray(new.slow.scales[0] / slow.scales[0])
    np.testing.assert_allclose(ratio, 0.35 if shrinks else 1.0, rtol=1e-5)


def test_effects_with_a_covariance_are_moved():
    """They are multiplied by a factor of it, and yet no network."""

    def correlated(group, y, batch=20):
        mean = numpyro.sample("mean", dist.Normal(0, 10).expand([2]).to_event(1))
        sd = numpyro.sample("sd", dist.HalfNormal(1).expand([2]).to_event(1))
        corr = numpyro.sample("corr", dist.LKJCholesky(2, 1))
        z = numpyro.sample("z", dist.Normal(0, 1).expand([GROUPS, 2]).to_event(2))
        effect = mean + z @ (sd[:, None] * corr).T
        with numpyro.plate("data", len(y), subsample_size=batch):
            gb, yb = rows_of(group, y)
            numpyro.sample("y", dist.Normal(effect[gb].sum(-1), 1), obs=yb)

    kernel = PseudoLangevin(correlated)
    state = kernel.init(random.key(0), 10, model_args=DATA)
    assert state.slow != ()
    run = kernel._run(*kernel._bind(DATA, {}), state.z)
    assert set(run.compared) == {"corr", "mean", "sd", "z"}


def test_chains_that_share_a_sum_differently_are_reported(monkeypatch):
    """
    Without the moves: potentials of chains that start at means of -20 and 20 hardly
    differ.
    """
    monkeypatch.setattr(transition, "moved_along", lambda *args: args[-1])
    mcmc = MCMC(
        PseudoLangevin(effects),
        num_warmup=200,
        num_samples=1,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    means = jnp.array([-20.0, 20.0])
    start = {"mean": means, "effect": -means[:, None] * jnp.ones(GROUPS)}

    def run():
        mcmc.run(random.key(0), *DATA, init_params=start)
        jax.effects_barrier()

    with pytest.warns(UserWarning, match="different places .* of '(mean|effect)'"):
        run()


def test_networks_are_compared_in_their_potential_alone():
    kernel = PseudoLangevin(network, warn=False)
    state = kernel.init(random.key(0), 10, model_args=DATA)
    assert state.settling.mean.shape == (2, 1)


def test_the_account_counts_the_steps_of_the_moves():
    """30 of them to 100; none without a slow direction."""
    kernel = PseudoLangevin(effects, warn=False)
    state = after_warmup(kernel)
    state = state._replace(settling=state.settling._replace(stretch=jnp.ones((), int)))
    assert kernel.account(state).num_steps == 130
    none = state.slow._replace(vectors=jnp.zeros_like(state.slow.vectors))
    assert kernel.account(state._replace(slow=none)).num_steps == 100
