# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Random-scaled SGDM. Keys are fixed; false-alarm rates are those of a fresh key."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from jax import random
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDelta
from numpyro.optim import optax_to_numpyro
from scipy.stats import kstest

from numpyro_pl.optim import (
    average_iterates,
    averaged_params,
    fold_in_stream,
    random_scaled_sgdm,
    scale_by_random,
)


def rough(x):
    """Neither quadratic, nor convex, nor smooth."""
    return jnp.sum(jnp.sqrt(1 + x**2) + jnp.abs(x - 0.3) + jnp.cos(3 * x))


def run(optimizer, x, num_steps, fn=rough, state=None):
    """Iterates after each step, shape (num_steps, ...), and the final state."""
    state = optimizer.init(x) if state is None else state

    def body(carry, _):
        x, state = carry
        updates, state = optimizer.update(jax.grad(fn)(x), state, x)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    (_, state), path = jax.lax.scan(body, (x, state), None, length=num_steps)
    return path, state


@pytest.mark.parametrize("regularization", [0.0, 3.0])
def test_constant_scale_is_optax_sgd_step_for_step(regularization):
    eta, beta = 0.02, 0.9
    b = beta / (1 + eta * regularization)

    def fn(tree):
        return rough(tree["a"]) + jnp.sum(jnp.sin(tree["b"]) * tree["a"])

    def paths():
        tree = {"a": jnp.array([1.5, -0.4, 0.2]), "b": jnp.array([[0.1], [2.0]])}
        ours = random_scaled_sgdm(eta, beta, regularization, "constant")
        theirs = optax.sgd(b * eta, momentum=b)
        return run(ours, tree, 100, fn)[0], run(theirs, tree, 100, fn)[0]

    # Double precision, because the function is unstable enough in places to amplify
    # rounding above 1e-6 in 100 steps.
    with jax.enable_x64(True):
        ours, theirs = paths()
    for name in ours:
        assert ours[name].dtype == jnp.float64
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6)
    ours, theirs = paths()
    for name in ours:
        np.testing.assert_allclose(ours[name][:10], theirs[name][:10], atol=1e-6)


def test_schedule_and_random_scales_follow_the_update_equation():
    schedule = optax.linear_schedule(0.05, 0.01, 10)
    x0 = jnp.array([1.5, -0.4])
    path, state = run(random_scaled_sgdm(schedule, 0.8, 2.0, rng_key=5), x0, 10)

    # The scales alone, through a transformation that sees a unit update.
    scale = scale_by_random(rng_key=5)
    _, scales = jax.lax.scan(
        lambda state, _: scale.update(jnp.ones(()), state)[::-1],
        scale.init(None),
        None,
        length=10,
    )
    assert np.std(scales) > 0.1
    grad = jax.jit(jax.grad(rough))

    x, momentum = np.array(x0, np.float64), np.zeros(2)
    for t, s in enumerate(scales):
        eta = float(schedule(t))
        g = np.asarray(grad(jnp.asarray(x, jnp.float32)))
        momentum = 0.8 / (1 + eta * 2.0) * (momentum - eta * g)
        x = x + s * momentum
        np.testing.assert_allclose(path[t], x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state[0].momentum, momentum, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distribution", ["exponential", "uniform"])
def test_mean_update_over_seeds_is_that_of_sgdm(distribution):
    # 10 comparisons at 4 standard errors: false-alarm rate 6e-4.
    gradients = random.normal(random.key(0), (10, 3))

    def updates(optimizer):
        def body(state, g):
            u, state = optimizer.update(g, state)
            return state, u

        return jax.lax.scan(body, optimizer.init(jnp.zeros(3)), gradients)[1]

    def one(key):
        return updates(random_scaled_sgdm(0.1, 0.9, 0.5, distribution, rng_key=key))

    draws = jax.jit(jax.vmap(one))(random.split(random.key(1), 10_000))
    b = 0.9 / 1.05
    expected = updates(optax.sgd(0.1 * b, momentum=b))
    # One scalar a step: the coordinates of a step are one comparison.
    ratio = np.asarray((draws / expected)[..., 0], np.float64)
    standard_error = ratio.std(axis=0) / np.sqrt(len(ratio))
    assert (standard_error > 0).all()
    z = (ratio.mean(axis=0) - 1) / standard_error
    assert np.abs(z).max() < 4, z


@pytest.mark.parametrize(
    ("distribution", "law"),
    [("exponential", ("expon", ())), ("uniform", ("uniform", (0, 2)))],
)
def test_scales_follow_their_law_and_are_one_scalar_for_the_tree(distribution, law):
    # Kolmogorov-Smirnov at p = 1e-4, the false-alarm rate.
    optimizer = scale_by_random(distribution, rng_key=3)
    tree = {"a": jnp.ones(2), "b": jnp.full((3, 1), 2.0)}

    def body(state, _):
        updates, state = optimizer.update(tree, state)
        return state, updates

    _, out = jax.lax.scan(body, optimizer.init(tree), None, length=5000)
    scales = out["a"][:, 0]
    np.testing.assert_array_equal(out["a"], np.repeat(scales[:, None], 2, axis=1))
    np.testing.assert_array_equal(
        out["b"][..., 0], np.repeat(2 * scales[:, None], 3, 1)
    )
    assert kstest(np.asarray(scales), *law).pvalue > 1e-4
    # Successive scales are uncorrelated, within 4 standard errors (6e-5).
    centred = np.asarray(scales) - scales.mean()
    correlation = (centred[1:] * centred[:-1]).mean() / centred.var()
    assert abs(correlation) < 4 / np.sqrt(len(scales))


@pytest.mark.parametrize("distribution", ["exponential", "uniform", "constant"])
def test_identity_of_the_exponential_scale(distribution):
    # E[f(x_t) - f(x_{t-1})] = E[<grad f(x_t), D_t>], arXiv:2405.09742 Lemma 3.1, over
    # 5 steps: one comparison at 4 standard errors, false-alarm rate 6e-5. The other two
    # laws must fail it, and by far, for the test to mean anything.
    def gap(key):
        key_x, key_s = random.split(key)
        x = random.normal(key_x, (4,))
        optimizer = random_scaled_sgdm(0.1, 0.9, 0.0, distribution, rng_key=key_s)

        def body(carry, _):
            x, state = carry
            updates, state = optimizer.update(jax.grad(rough)(x), state, x)
            new = optax.apply_updates(x, updates)
            gain = jax.grad(rough)(new) @ state[0].momentum
            return (new, state), rough(new) - rough(x) - gain

        return jax.lax.scan(body, (x, optimizer.init(x)), None, length=5)[1].sum()

    gaps = jax.jit(jax.vmap(gap))(random.split(random.key(4), 40_000))
    gaps = np.asarray(gaps, np.float64)
    z = gaps.mean() / (gaps.std() / np.sqrt(len(gaps)))
    if distribution == "exponential":
        assert abs(z) < 4, z
    else:
        assert abs(z) > 8, z


def test_streams_under_vmap():
    x = jnp.array([1.0, -1.0])

    def by_seed(seed):
        return run(random_scaled_sgdm(0.02, 0.9, rng_key=seed), x, 5)[0]

    keys = random.split(random.key(0), 3)
    paths = jax.vmap(by_seed)(keys)
    assert len(np.unique(np.asarray(paths[:, -1, 0]))) == 3
    np.testing.assert_allclose(paths[1], by_seed(keys[1]), rtol=1e-5)
    np.testing.assert_array_equal(by_seed(7), by_seed(random.key(7)))
    raw = random.key_data(random.key(7))
    np.testing.assert_array_equal(by_seed(7), by_seed(raw))

    optimizer = optax.chain(optax.clip(10.0), random_scaled_sgdm(0.02, 0.9))
    same = jax.vmap(lambda i: run(optimizer, x, 5)[0])(jnp.arange(3))
    assert len(np.unique(np.asarray(same[:, -1, 0]))) == 1

    def folded(i):
        return run(optimizer, x, 5, state=fold_in_stream(optimizer.init(x), i))[0]

    paths = jax.vmap(folded)(jnp.arange(3))
    assert len(np.unique(np.asarray(paths[:, -1, 0]))) == 3


def test_seeds_do_not_recompile():
    traces = []

    @jax.jit
    def step(g, state):
        traces.append(1)
        return random_scaled_sgdm(0.1).update(g, state)

    for seed in range(3):
        step(jnp.ones(2), random_scaled_sgdm(0.1, rng_key=seed).init(jnp.ones(2)))
    assert len(traces) == 1


def test_inject_hyperparams_changes_the_learning_rate_in_flight():
    x = jnp.array([1.0, -1.0])
    optimizer = optax.inject_hyperparams(random_scaled_sgdm)(
        learning_rate=0.02, momentum=0.9, rng_key=3
    )
    plain = random_scaled_sgdm(0.02, 0.9, rng_key=3)
    path, state = run(optimizer, x, 4)
    expected, plain_state = run(plain, x, 4)
    np.testing.assert_allclose(path, expected, rtol=1e-5)

    state.hyperparams["learning_rate"] = jnp.float32(0.05)
    path, _ = run(optimizer, expected[-1], 4, state=state)
    faster = random_scaled_sgdm(0.05, 0.9, rng_key=3)
    expected, _ = run(faster, expected[-1], 4, state=plain_state)
    np.testing.assert_allclose(path, expected, rtol=1e-4)


@pytest.mark.parametrize("wrap", [lambda o: o, optax_to_numpyro])
@pytest.mark.parametrize("stable_update", [False, True])
def test_svi(wrap, stable_update):
    data = np.linspace(0.0, 2.0, 50)

    def model():
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        with numpyro.plate("data", 50):
            numpyro.sample("x", dist.Normal(mean, 1), obs=data)

    schedule = optax.cosine_decay_schedule(0.005, 400)
    optimizer = wrap(random_scaled_sgdm(schedule, 0.8))
    svi = SVI(model, AutoDelta(model), optimizer, Trace_ELBO())
    result = svi.run(
        random.key(0), 400, progress_bar=False, stable_update=stable_update
    )
    np.testing.assert_allclose(result.params["mean_auto_loc"], 50 / 51, atol=1e-4)


def test_average_is_the_weighted_mean_of_the_iterates():
    x = jnp.array([1.0, -1.0])
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), random_scaled_sgdm(0.02, 0.9, average=True)
    )
    path, state = run(optimizer, x, 30)
    weights = 0.9 ** np.arange(29, -1, -1)
    expected = weights @ np.asarray(path, np.float64) / weights.sum()
    np.testing.assert_allclose(averaged_params(state), expected, rtol=1e-5)
    without, _ = run(
        optax.chain(optax.clip_by_global_norm(5.0), random_scaled_sgdm(0.02, 0.9)),
        x,
        30,
    )
    np.testing.assert_array_equal(path, without)


def test_average_of_no_memory_is_the_last_iterate():
    x = jnp.array([1.0, -1.0])
    path, state = run(optax.chain(optax.sgd(0.01), average_iterates(0.0)), x, 5)
    np.testing.assert_allclose(averaged_params(state), path[-1], rtol=1e-6)


def test_reading_a_missing_average_says_how_to_keep_one():
    with pytest.raises(ValueError, match="average=True"):
        averaged_params(random_scaled_sgdm(0.1).init(jnp.ones(2)))
    state = average_iterates(0.9).init(jnp.ones(2))
    with pytest.raises(ValueError, match="2 averages"):
        averaged_params((state, state))
    with pytest.raises(ValueError, match=r"optimizer\.update\(grads, state, params\)"):
        average_iterates(0.9).update(jnp.ones(2), state)


def test_random_scaled_adam():
    x = jnp.array([1.0, -1.0])
    optimizer = optax.chain(optax.adam(0.01), scale_by_random(rng_key=2))
    path, state = run(optimizer, x, 1)
    adam, _ = run(optax.adam(0.01), x, 1)
    scale, _ = scale_by_random(rng_key=2).update(
        jnp.ones(()), state[1]._replace(step=0)
    )
    np.testing.assert_allclose(path[0] - x, scale * (adam[0] - x), rtol=1e-4)


def test_dtypes_are_kept():
    x = {"half": jnp.ones(3, jnp.bfloat16), "single": jnp.ones(2)}
    optimizer = random_scaled_sgdm(optax.constant_schedule(0.1), average=True)
    updates, state = optimizer.update(x, optimizer.init(x), x)
    assert updates["half"].dtype == jnp.bfloat16
    assert updates["single"].dtype == jnp.float32
    assert averaged_params(state)["half"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0 .*positive"),
        ({"learning_rate": -1.0}, "learning_rate=-1 .*positive"),
        ({"learning_rate": np.nan}, "learning_rate=nan"),
        ({"learning_rate": jnp.float32(-0.5)}, "learning_rate=-0.5"),
        ({"learning_rate": 0.1, "momentum": 1.0}, r"momentum=1 .*\[0, 1\)"),
        ({"learning_rate": 0.1, "momentum": -0.1}, "momentum=-0.1"),
        ({"learning_rate": 0.1, "regularization": -1.0}, "regularization=-1"),
        ({"learning_rate": 0.1, "distribution": "gamma"}, "'gamma'.*'exponential'"),
    ],
)
def test_bad_input(kwargs, message):
    with pytest.raises(ValueError, match=message):
        random_scaled_sgdm(**kwargs)
    with pytest.raises(ValueError, match="decay=1"):
        average_iterates(1.0)
