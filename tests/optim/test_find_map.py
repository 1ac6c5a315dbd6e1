# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""MAP search and warm starts against exact modes."""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from jax import random
from numpyro.infer import HMC, MCMC, NUTS, init_to_feasible, init_to_median
from numpyro.infer.util import constrain_fn, initialize_model, log_density

from numpyro_pl.optim import find_map, init_to_map, random_scaled_sgdm
from numpyro_pl.optim.init_to_map import map_search_of

search = partial(find_map, progress_bar=False)


def scale_model(x):
    """Its mode in `s` has a closed form, and moves if a Jacobian is counted."""
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    with numpyro.plate("data", x.shape[0]):
        numpyro.sample("x", dist.Normal(0.0, s), obs=x)


def scale_mode(x):
    n, total = len(x), float(np.sum(np.square(x)))
    return np.sqrt((np.sqrt(n**2 + 4 * total) - n) / 2)


X_SCALE = np.array([0.5, -1.2, 0.8, 0.1, -0.4], np.float32)


def two_modes():
    """Density symmetric about 0, modes at -2 and 2."""
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("push", 2.0 * jnp.abs(x))


def mean_model(x, subsample_size=None):
    mean = numpyro.sample("mean", dist.Normal(3.0, 0.05))
    with numpyro.plate("data", x.shape[0], subsample_size=subsample_size):
        batch = numpyro.subsample(x, event_dim=0)
        numpyro.sample("x", dist.Normal(mean, 1.0), obs=batch)


X_MEAN = np.asarray(random.normal(random.key(9), (5000,)), np.float32)


def test_mode_of_the_constrained_density_in_both_spaces():
    result = search(random.key(0), scale_model, X_SCALE, num_starts=3, num_steps=600)
    assert result.losses.shape == (3, 600)
    np.testing.assert_allclose(
        result.params["s"], np.full(3, scale_mode(X_SCALE)), 1e-3
    )
    np.testing.assert_allclose(
        np.exp(result.unconstrained["s"]), result.params["s"], 1e-5
    )
    exact, _ = log_density(scale_model, (X_SCALE,), {}, {"s": result.params["s"][0]})
    np.testing.assert_allclose(result.objective[0], -exact, 1e-5)
    np.testing.assert_allclose(result.losses[:, -1], result.objective, 1e-4)


def test_minibatches_find_the_full_data_mode_and_count_the_prior_once():
    # Counting the prior N/B times would move the mode by 2, which is 150 posterior sd.
    # The noise of the minibatches leaves the last iterate about 0.7 sd from it.
    result = search(
        random.key(0), mean_model, X_MEAN, 100, num_starts=2, num_steps=1000
    )
    precision = 400 + len(X_MEAN)
    mode = (400 * 3.0 + X_MEAN.sum()) / precision
    mean = result.params["mean"]
    tolerance = 3 / np.sqrt(precision)
    np.testing.assert_allclose(mean, np.full(2, mode), atol=tolerance, rtol=0)
    # Minibatches differ: the losses are not those of the full data.
    assert (result.losses[:, -100:].std(axis=1) > 10).all()
    exact, _ = log_density(mean_model, (X_MEAN,), {}, {"mean": mean[1]})
    np.testing.assert_allclose(result.objective[1], -exact, 1e-5)


@pytest.fixture(scope="module")
def eight():
    return search(random.key(2), two_modes, num_starts=8, num_steps=300)


def test_starts_reach_different_modes_and_repeat(eight):
    again = search(random.key(2), two_modes, num_starts=8, num_steps=300)
    x = eight.params["x"]
    np.testing.assert_array_equal(x, again.params["x"])
    np.testing.assert_allclose(np.abs(x), np.full(8, 2.0), 1e-3)
    assert len(np.unique(np.sign(x))) == 2


def test_random_scales_differ_between_starts():
    optimizer = random_scaled_sgdm(0.05, 0.5)
    run = partial(
        search,
        random.key(0),
        scale_model,
        X_SCALE,
        num_starts=3,
        num_steps=5,
        init_strategy=init_to_feasible,
    )
    losses = run(optimizer=optimizer).losses
    assert len(np.unique(losses[:, 0])) == 1
    assert len(np.unique(losses[:, -1])) == 3
    constant = random_scaled_sgdm(0.05, 0.5, distribution="constant")
    assert len(np.unique(run(optimizer=constant).losses[:, -1])) == 1


def test_simplex_site_has_its_unconstrained_shape():
    def model(y):
        p = numpyro.sample("p", dist.Dirichlet(jnp.full(3, 2.0)))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", dist.Categorical(probs=p), obs=y)

    y = jnp.repeat(jnp.arange(3), jnp.array([6, 3, 1]))
    result = search(random.key(0), model, y, num_starts=2, num_steps=600)
    assert result.unconstrained["p"].shape == (2, 2)
    mode = np.array([7.0, 4.0, 2.0]) / 13
    np.testing.assert_allclose(result.params["p"], np.stack([mode, mode]), atol=2e-3)
    one = jax.tree.map(lambda v: v[0], result.unconstrained)
    back = constrain_fn(model, (y,), {}, one)
    np.testing.assert_allclose(back["p"], result.params["p"][0], atol=1e-5)


def test_support_that_depends_on_another_site():
    def model():
        top = numpyro.sample("top", dist.LogNormal(1.0, 0.3))
        x = numpyro.sample("x", dist.Uniform(0.0, top))
        numpyro.sample("y", dist.Normal(x, 0.1), obs=jnp.array(0.5))

    result = search(random.key(0), model, num_steps=600, init_strategy=init_to_feasible)
    one = jax.tree.map(lambda v: v[0], result.unconstrained)
    back = constrain_fn(model, (), {}, one)
    for name in ("top", "x"):
        np.testing.assert_allclose(back[name], result.params[name][0], 1e-4)


def walled():
    """Starts below 0 run into NaN at -3; the others reach a mode at 4.982."""
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("push", 5.0 * jnp.abs(x))
    numpyro.factor("wall", -0.1 * jnp.sqrt(x + 3.0))


def test_a_start_that_becomes_nan_is_named_and_the_others_go_on():
    with pytest.warns(UserWarning, match=r"start \d at step \d+.* other starts") as got:
        result = search(random.key(2), walled, num_starts=6, num_steps=400)
    failed = result.failed_at >= 0
    assert 0 < failed.sum() < 6
    for start in np.flatnonzero(failed):
        step = result.failed_at[start]
        assert f"start {start} at step {step}" in str(got[0].message)
        assert np.isfinite(result.losses[start, :step]).all()
        assert np.isnan(result.losses[start, step:]).all()
        # The loss is finite where a start comes from, NaN where it arrived.
        assert -3.3 < result.params["x"][start] < -3.0
    assert np.isfinite(result.losses[~failed]).all()
    np.testing.assert_allclose(result.params["x"][~failed], 4.982, rtol=1e-3)
    good = int((~failed).sum())
    assert (result.init_params(good)["x"] > 0).all()
    with pytest.raises(ValueError, match=f"ended well is {good} of 6"):
        result.init_params(good + 1)


def test_all_starts_failing_raises():
    optimizer = optax.sgd(1e30)
    with pytest.raises(
        RuntimeError, match=r"No start .* start 1 at step .*learning rate"
    ):
        search(
            random.key(0),
            scale_model,
            X_SCALE,
            num_starts=2,
            num_steps=10,
            optimizer=optimizer,
        )


def test_best_starts_are_taken_in_order():
    def tilted():
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.factor("push", 2.0 * jnp.abs(x) + 0.5 * x)

    result = search(random.key(2), tilted, num_starts=8, num_steps=300)
    positive = np.asarray(result.params["x"] > 0)
    assert 0 < positive.sum() < 8
    picked = result.init_params(int(positive.sum()))["x"]
    np.testing.assert_array_equal(picked, result.unconstrained["x"][positive])
    assert result.init_params(1)["x"].shape == ()


@pytest.mark.parametrize("num_chains", [1, 8])
def test_nuts_starts_where_the_search_ended(eight, num_chains):
    key = random.key(1) if num_chains == 1 else random.split(random.key(1), num_chains)
    init_params = eight.init_params(num_chains)
    state = NUTS(two_modes).init(key, 0, init_params, (), {})
    expected = eight.unconstrained["x"]
    if num_chains == 1:
        expected = expected[np.argmin(eight.objective)]
    np.testing.assert_array_equal(state.z["x"], expected)


@pytest.mark.parametrize("vectorized", [False, True])
def test_init_to_map_starts_each_chain_at_a_mode_of_its_own(vectorized):
    strategy = pickle.loads(pickle.dumps(init_to_map(two_modes, num_steps=300)))
    kernel = NUTS(two_modes, init_strategy=strategy)
    keys = random.split(random.key(0), 6)
    if vectorized:
        x = kernel.init(keys, 0, None, (), {}).z["x"]
    else:
        x = jnp.stack([kernel.init(key, 0, None, (), {}).z["x"] for key in keys])
    np.testing.assert_allclose(np.abs(x), np.full(6, 2.0), 1e-3)
    assert len(np.unique(np.sign(x))) == 2


def test_mcmc_runs_from_both(eight):
    def run(init_params=None, **settings):
        kernel = HMC(two_modes, num_steps=2, trajectory_length=None, **settings)
        mcmc = MCMC(
            kernel,
            num_warmup=20,
            num_samples=20,
            num_chains=2,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(random.key(1), init_params=init_params)
        assert np.isfinite(mcmc.get_samples()["x"]).all()

    run(init_params=eight.init_params(2))
    run(init_strategy=init_to_map(two_modes, num_steps=50))


def test_all_sites_of_a_chain_come_from_one_search():
    def model():
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        y = numpyro.sample("y", dist.Normal(0.0, 1.0))
        z = numpyro.sample("z", dist.HalfNormal(1.0))
        numpyro.factor("push", 2.0 * jnp.abs(x) + 5.0 * x * y)
        numpyro.factor("tie", -2.0 * (x**2 * y**2) - 3.0 * (z - jnp.abs(x)) ** 2)

    strategy = init_to_map(model, num_steps=300)
    info = initialize_model(
        random.split(random.key(1), 6), model, init_strategy=strategy
    ).param_info
    z, grad = info.z, info.z_grad
    # At a mode x and y have equal signs: sites of several searches would break the
    # pairs, and leave the gradient away from the mode.
    assert len(np.unique(np.sign(z["x"]))) == 2
    np.testing.assert_array_equal(np.sign(z["x"]), np.sign(z["y"]))
    np.testing.assert_allclose(grad["x"], np.zeros(6), atol=5e-2)
    np.testing.assert_allclose(grad["y"], np.zeros(6), atol=5e-2)
    # The kernel's potential has the Jacobian of z, -log z, and the search has not.
    np.testing.assert_allclose(grad["z"], -np.ones(6), atol=5e-2)


def test_init_to_map_may_search_on_minibatches_for_a_full_data_kernel():
    strategy = init_to_map(mean_model, X_MEAN, 100, num_steps=1000)
    info = initialize_model(
        random.key(0), mean_model, init_strategy=strategy, model_args=(X_MEAN,)
    )
    precision = 400 + len(X_MEAN)
    mode = (400 * 3.0 + X_MEAN.sum()) / precision
    assert abs(info.param_info.z["mean"] - mode) < 3 / np.sqrt(precision)


def test_kernels_run_the_whole_search_on_their_own_model():
    found = map_search_of(init_to_map(num_steps=300))
    keys = random.split(random.key(2), 8)
    batch = found(keys, two_modes, (), {})
    np.testing.assert_allclose(np.abs(batch["x"]), np.full(8, 2.0), 1e-3)
    assert len(np.unique(np.sign(batch["x"]))) == 2
    traced = jax.vmap(lambda key: found(key, two_modes, (), {}))(keys)
    np.testing.assert_allclose(traced["x"], batch["x"], 1e-5)
    assert found(keys[0], two_modes, (), {})["x"].shape == ()
    assert map_search_of(init_to_median()) is None
    assert map_search_of(init_to_feasible) is None


def test_init_to_map_names_what_is_missing():
    with pytest.raises(ValueError, match=r"init_to_map\(model, \*args"):
        initialize_model(random.key(0), two_modes, init_strategy=init_to_map())
    other = init_to_map(scale_model, X_SCALE, num_steps=2)
    with pytest.raises(ValueError, match="without the latent site 'x'"):
        initialize_model(random.key(0), two_modes, init_strategy=other)
    with pytest.raises(ValueError, match="num_steps must be a positive whole"):
        init_to_map(num_steps=0)


def test_param_sites_stay_at_their_initial_values():
    def model():
        shift = numpyro.param("shift", 1.0)
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(x + shift, 1.0), obs=jnp.array(4.0))

    result = search(random.key(0), model, num_steps=500)
    assert set(result.params) == {"x"}
    np.testing.assert_allclose(result.params["x"], [1.5], 1e-3)


def test_flax_module():
    flax = pytest.importorskip("flax.linen")
    from numpyro.contrib.module import random_flax_module

    x = np.linspace(-1, 1, 200, dtype=np.float32)[:, None]
    y = x[:, 0] ** 2

    def model(x, y):
        net = random_flax_module(
            "nn",
            flax.Sequential([flax.Dense(4), jnp.tanh, flax.Dense(1)]),
            dist.Normal(0, 1),
            input_shape=(1,),
        )
        with numpyro.plate("data", 200, subsample_size=20):
            xb = numpyro.subsample(x, event_dim=1)
            yb = numpyro.subsample(y, event_dim=0)
            numpyro.sample("y", dist.Normal(net(xb)[:, 0], 0.1), obs=yb)

    result = search(random.key(0), model, x, y, num_steps=400)
    assert set(result.params) == set(result.unconstrained)
    assert result.params["nn/layers_0.kernel"].shape == (1, 1, 4)
    assert (result.losses[:, -50:].mean(1) < 0.5 * result.losses[:, :50].mean(1)).all()


def empty():
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=jnp.array(1.0))


def local_latent():
    with numpyro.plate("data", 100, subsample_size=10):
        numpyro.sample("local", dist.Normal(0.0, 1.0))


def discrete():
    numpyro.sample("k", dist.Poisson(0.5))


@pytest.mark.parametrize(
    ("model", "kwargs", "message"),
    [
        (empty, {}, "no continuous latent sites"),
        (local_latent, {}, "'local' is inside the subsampled plate 'data'"),
        (discrete, {}, "'k' is discrete"),
        (
            two_modes,
            {"num_starts": 0},
            "num_starts must be a positive whole number, got 0",
        ),
        (
            two_modes,
            {"num_steps": 0},
            "num_steps must be a positive whole number, got 0",
        ),
    ],
)
def test_bad_input(model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        search(random.key(0), model, **kwargs)


def test_progress_bar(capsys):
    find_map(random.key(0), two_modes, num_steps=45)
    assert "45/45" in capsys.readouterr().err
