"""The kernel inside NumPyro's MCMC: chain methods, fields, resume, divergences."""

import logging
import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, init_to_median
from runs_in_pieces import check_resumed, in_pieces
from shared_models import PLAIN, linear_model

from numpyro_pl import PseudoLangevin, init_to_map

FIELDS = ("potential_energy", "kinetic_temperature", "noise_fraction", "diverging")


def make(model=linear_model, warmup=20, samples=10, chains=1, kernel=None, **kwargs):
    kwargs.setdefault("progress_bar", False)
    kwargs.setdefault("chain_method", "vectorized")
    kernel = PseudoLangevin(model, **(kernel or {}))
    return MCMC(
        kernel, num_warmup=warmup, num_samples=samples, num_chains=chains, **kwargs
    )


def draws(mcmc):
    return np.asarray(mcmc.get_samples(group_by_chain=True)["w"])


@pytest.fixture(scope="module")
def pieces(regression):
    """Runs of two vectorized chains, shared by several tests."""
    kernel = PseudoLangevin(linear_model, num_steps=3)
    return in_pieces(kernel, regression, "w", FIELDS)


def test_fields(pieces, regression):
    reference = pieces.mcmc
    fields = reference.get_extra_fields(group_by_chain=True)
    assert set(fields) == {*FIELDS, "temperature"}
    assert all(v.shape == (2, 16) for v in fields.values())
    assert draws(reference).shape == (2, 16, 3)
    # The potential energy is that of the full data at the draw.
    w = reference.last_state.z["w"][0]
    x, y = regression
    exact = (
        0.5 * jnp.sum((y - x @ w) ** 2) + 0.5 * w @ w + 603 / 2 * jnp.log(2 * jnp.pi)
    )
    np.testing.assert_allclose(fields["potential_energy"][0, -1], exact, rtol=1e-5)


@pytest.fixture
def progress_bar(monkeypatch):
    """NumPyro shows none where either variable is set."""
    for variable in ("CI", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("progress_bar")
def test_sequential_chains_with_progress_bar_and_thinning(regression):
    settings = {"chains": 2, "chain_method": "sequential", "kernel": PLAIN}
    mcmc = make(progress_bar=True, thinning=2, **settings)
    mcmc.run(jax.random.key(0), *regression)
    assert draws(mcmc).shape == (2, 5, 3)
    plain = make(**settings)
    plain.run(jax.random.key(0), *regression)
    np.testing.assert_allclose(draws(mcmc), draws(plain)[:, 1::2], rtol=1e-5)
    text = plain.sampler.get_diagnostics_str(
        jax.tree.map(lambda x: x[0], plain.last_state)
    )
    assert text.startswith("sampling temperature=")
    assert "noise=" in text
    assert text.endswith("divergences=0")


@pytest.mark.devices
def test_parallel_chains(regression):
    mcmc = make(chains=2, chain_method="parallel")
    mcmc.run(jax.random.key(0), *regression, extra_fields=FIELDS)
    sequential = make(chains=2, chain_method="sequential")
    sequential.run(jax.random.key(0), *regression)
    np.testing.assert_allclose(draws(mcmc), draws(sequential), rtol=1e-4, atol=1e-5)


def test_resume_is_bit_identical_and_the_same_after_pickling(pieces):
    """With an anchor and axes of its own; step sizes are fixed after the warmup."""
    check_resumed(pieces)
    last = pieces.mcmc.last_state
    np.testing.assert_array_equal(last.frame.share, 1.0)
    jax.tree.map(np.testing.assert_array_equal, last.scales, pieces.warm.scales)
    (variance,) = jax.tree.leaves(last.noise_variance)
    assert (np.asarray(variance) > 0).all()


@pytest.mark.usefixtures("progress_bar")
def test_nothing_recompiles(regression, caplog):
    """
    Neither draws nor a second run on other data of the same shape compile anything.
    (The loop that NumPyro builds without a progress bar is compiled anew at each run,
    for its own kernels too; with one, its draws are dispatched one by one.)
    """
    x, y = regression
    mcmc = make(samples=5, jit_model_args=True, progress_bar=True)
    mcmc.run(jax.random.key(0), x, y)
    first = draws(mcmc)
    second, third = (x + 1.0, y * 2.0), (x - 1.0, y * 3.0)
    mcmc.run(jax.random.key(1), *second)  # host-side helpers may compile here
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        mcmc.run(jax.random.key(2), *third)
    compiled = [r.message for r in caplog.records if "Finished XLA" in r.message]
    assert compiled == []
    assert not np.allclose(draws(mcmc), first)


def test_second_data_set_is_used(regression):
    x, y = regression
    mcmc = make(warmup=150, samples=150, kernel=PLAIN)
    means = []
    for sign in (1, -1):
        mcmc.run(jax.random.key(0), x, sign * y)
        means.append(draws(mcmc)[0].mean(0))
    np.testing.assert_allclose(means[0], -means[1], atol=0.3)
    assert abs(means[0][0]) > 0.7


def test_divergence_is_flagged_and_survived(capsys):
    """A step over the edge of the support gives NaN: the chain goes on from before."""

    def potential(z):
        # A cliff: finite inside |x| < 1.5, NaN beyond.
        return jnp.where(jnp.abs(z) < 1.5, 0.5 * z**2, jnp.nan).sum()

    mcmc = MCMC(
        PseudoLangevin(potential_fn=potential, num_steps=5),
        num_warmup=20,
        num_samples=200,
        progress_bar=False,
    )
    with pytest.warns(UserWarning, match="draws since the end of warmup diverged"):
        mcmc.run(jax.random.key(0), init_params=jnp.zeros(4), extra_fields=FIELDS)
    count = int(mcmc.get_extra_fields()["diverging"].sum())
    assert 0 < count < 200
    # Where the user sees it: the state, the progress bar, NumPyro's summary.
    state = mcmc.last_state
    assert int(state.num_divergences) == count
    shown = mcmc.sampler.get_diagnostics_str(state)
    assert shown.endswith(f"divergences={count}")
    # The temperature is that of the draws that were kept.
    fields = mcmc.get_extra_fields()
    kinetic, kept = fields["kinetic_temperature"], ~fields["diverging"]
    assert abs(kinetic.mean() / kinetic[kept].mean() - 1) > 0.01
    np.testing.assert_allclose(
        state.mean_kinetic_temperature, kinetic[kept].mean(), rtol=1e-5
    )
    mcmc.print_summary()
    assert f"Number of divergences: {count}" in capsys.readouterr().out
    z = np.asarray(mcmc.get_samples())
    assert np.isfinite(z).all()
    # A diverged draw repeats the one before it (the first: the end of warmup).
    diverged = np.asarray(mcmc.get_extra_fields()["diverging"])
    np.testing.assert_array_equal(np.diff(z[:, 0]) == 0, diverged[1:])


def test_full_batch_gaussian_from_a_potential():
    """200 chains on a tree position: variances within 4 se of 1000 draws."""
    sd = jnp.array([0.1, 1.0, 10.0])

    def potential(z):
        return 0.5 * jnp.sum(jnp.square(z["a"] / sd)) + 0.5 * jnp.sum(z["b"] ** 2)

    mcmc = MCMC(
        PseudoLangevin(potential_fn=potential, friction=0.5, temperature=2.0),
        num_warmup=20,
        num_samples=50,
        num_chains=200,
        chain_method="vectorized",
        progress_bar=False,
    )
    start = {"a": jnp.zeros((200, 3)), "b": jnp.zeros((200, 2))}
    mcmc.run(jax.random.key(0), init_params=start, extra_fields=FIELDS)
    z = mcmc.get_samples()
    np.testing.assert_allclose(z["a"].var(0) / (2 * sd**2), 1.0, atol=4 * 0.045)
    np.testing.assert_allclose(z["b"].var(0) / 2, 1.0, atol=4 * 0.045)
    t = np.asarray(mcmc.get_extra_fields()["kinetic_temperature"])
    assert abs(t.mean() - 2) < 4 * t.std() / 1000**0.5


def site_zoo(x, y):
    """Constrained, hierarchical, deterministic sites; an input column of zeros."""
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    w = numpyro.sample("w", dist.Normal(0, scale).expand([3]).to_event(1))
    idle = numpyro.sample("idle", dist.Normal(0, 1).expand([2]).to_event(1))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    sigma = numpyro.sample("sigma", dist.LogNormal(0.0, 0.5))
    numpyro.deterministic("norm", jnp.sqrt(w @ w))
    with numpyro.plate("data", x.shape[0], subsample_size=60) as ind:
        both = jnp.concatenate([w, idle])
        mean = numpyro.deterministic("mean", x[ind] @ both + shares[0])
        numpyro.sample("y", dist.Normal(mean, sigma), obs=y[ind])
    numpyro.deterministic("residual", y[ind].mean())


def test_sites_of_all_kinds_with_default_settings(regression):
    x, y = regression
    x = jnp.concatenate([x, jnp.zeros((600, 2))], 1)
    mcmc = make(site_zoo, warmup=200, samples=300, chains=4)
    mcmc.run(jax.random.key(0), x, y, extra_fields=FIELDS)
    z = mcmc.get_samples()
    # Values that depend on the minibatch are not returned.
    assert set(z) == {"scale", "w", "idle", "shares", "sigma", "norm"}
    assert (z["scale"] > 0).all()
    np.testing.assert_allclose(z["shares"].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(z["norm"], jnp.linalg.norm(z["w"], axis=-1), rtol=1e-5)
    fields = mcmc.get_extra_fields()
    assert not fields["diverging"].any()
    # Nine coordinates whose energy is fresh every 1 / friction = 100 steps: 1,200
    # times, a standard error of 0.014.
    assert abs(float(fields["kinetic_temperature"].mean()) - 1) < 4 * 0.014
    assert 0.9 < float(z["sigma"].mean()) < 1.1
    # Coefficients of columns without data keep their prior spread.
    assert 0.7 < float(z["idle"].std()) < 1.3


def test_model_that_looks_at_the_values_of_its_data(regression):
    """Data is traced where possible; a model that needs its values gets them."""
    _, y = regression
    group = np.arange(600) % 4

    def model(group, y):
        num = int(group.max()) + 1
        w = numpyro.sample("w", dist.Normal(0, 1).expand([num]).to_event(1))
        with numpyro.plate("data", 600, subsample_size=50) as ind:
            g = jnp.asarray(group)[ind]
            numpyro.sample("y", dist.Normal(w[g], 1.0), obs=y[ind])

    mcmc = make(model, warmup=5, samples=3, kernel=PLAIN)
    mcmc.run(jax.random.key(0), group, y)
    assert draws(mcmc).shape == (1, 3, 4)


def test_numpy_data_and_keyword_arguments(regression):
    x, y = (np.asarray(a) for a in regression)
    mcmc = make(warmup=5, samples=3, kernel=PLAIN)
    mcmc.run(jax.random.key(0), x, y=y, batch=30)
    assert np.isfinite(draws(mcmc)).all()
    # The default: what a report needs.
    fields = {"diverging", "potential_energy", "temperature", "kinetic_temperature"}
    assert set(mcmc.get_extra_fields()) == fields | {"noise_fraction"}


def test_init_strategy_and_init_params(regression):
    kernel = PseudoLangevin(linear_model, init_strategy=init_to_median(num_samples=999))
    z = kernel.init(jax.random.key(0), 0, None, regression, {}).z
    # A median of 999 standard normal values has a standard error of 0.04.
    assert np.abs(z["w"]).max() < 0.2
    start = {"w": jnp.array([1.0, 0.0, -1.0])}
    mcmc = make(warmup=0, samples=1, kernel={"num_steps": 1, **PLAIN})
    mcmc.run(jax.random.key(0), *regression, init_params=start)
    assert np.abs(draws(mcmc)[0, 0] - start["w"]).max() < 0.2


def test_one_kernel_with_and_without_a_warmup():
    """Only with a warmup may the start be moved; neither run changes the other."""
    kernel = PseudoLangevin(potential_fn=lambda z: 50 * jnp.sum(z**2))
    start = jnp.full(100, 2.0)
    for num_warmup, expected in ((0, 2.0), (100, 0.125), (0, 2.0)):
        state = kernel.init(jax.random.key(0), num_warmup, start, (), {})
        np.testing.assert_allclose(state.z, expected)


def test_warm_start_is_one_argument(regression):
    """Each chain starts at the mode: its first draw is within a step of it."""
    x, y = regression
    mode = np.linalg.solve(x.T @ x + np.eye(3), x.T @ y)
    kernel = {"init_strategy": init_to_map(num_steps=300), "num_steps": 1, **PLAIN}
    mcmc = make(warmup=0, samples=1, chains=2, kernel=kernel)
    mcmc.run(jax.random.key(0), x, y)
    # The posterior sd is 0.04; a start from init_to_uniform is 2 to 3 away.
    assert np.abs(draws(mcmc)[:, 0] - mode).max() < 0.25


@pytest.mark.parametrize(("batch", "num_steps"), [(60, 100), (6, 100), (2, 300)])
def test_num_steps_defaults_to_one_pass_within_bounds(regression, batch, num_steps):
    """600 rows: one pass is 10, 100 and 300 steps."""
    kernel = PseudoLangevin(partial(linear_model, batch=batch))
    kernel.init(jax.random.key(0), 1, None, regression, {})
    state = kernel.init(jax.random.key(0), 1, None, regression, {})
    binding, data = kernel._bind(regression, {})
    assert kernel._run(binding, data, state.z).schedule.num_steps == num_steps
    three = PseudoLangevin(linear_model, num_steps=3)
    assert three._run(binding, data, state.z).schedule.num_steps == 3


def test_minibatches_may_supply_more_noise_in_the_first_half_of_warmup(regression):
    """Only where friction from the examples balances their noise."""

    def run_of(num_warmup=9, **settings):
        plain = {"dense_mass": False, "control_variate": None}
        kernel = PseudoLangevin(linear_model, **plain, **settings)
        state = kernel.init(jax.random.key(0), num_warmup, None, regression, {})
        binding, data = kernel._bind(regression, {})
        return kernel._run(binding, data, state.z), state

    def bounds(**settings):
        run, state = run_of(**settings)
        at = (run.dynamics_of(state._replace(i=jnp.asarray(i))) for i in (0, 3, 4, 9))
        return [float(dynamics.members[0].noise_fraction) for dynamics in at]

    # The draw in whose middle half of the warmup is over does not count as early.
    np.testing.assert_allclose(bounds(), [3.0, 3.0, 0.2, 0.2], rtol=1e-6)
    found = bounds(noise_fraction=0.05)
    np.testing.assert_allclose(found, [0.75, 0.75, 0.05, 0.05], rtol=1e-6)
    np.testing.assert_allclose(bounds(example_friction=False), 0.05, rtol=1e-6)
    # Then the first draw must not take itself for the end of that half.
    assert run_of(num_warmup=0)[0].boldness == 1


@pytest.mark.parametrize("which", ["flax", "nnx", "eqx"])
def test_neural_network_modules(which, regression):
    x, y = regression
    if which == "flax":
        from flax import linen as nn
        from numpyro.contrib.module import random_flax_module

        module = nn.Dense(1)

        def network():
            return random_flax_module("nn", module, dist.Normal(), input_shape=(3,))

    elif which == "nnx":
        from flax import nnx
        from numpyro.contrib.module import random_nnx_module

        module = nnx.Linear(3, 1, rngs=nnx.Rngs(0))

        def network():
            return random_nnx_module("nn", module, dist.Normal())

    else:
        import equinox as eqx
        from numpyro.contrib.module import random_eqx_module

        module = eqx.nn.Linear(3, 1, key=jax.random.key(0))

        def network():
            net = random_eqx_module("nn", module, dist.Normal())
            return jax.vmap(net)

    def model(x, y):
        net = network()
        with numpyro.plate("data", 600, subsample_size=60):
            xb = numpyro.subsample(x, event_dim=1)
            yb = numpyro.subsample(y, event_dim=0)
            numpyro.sample("y", dist.Normal(net(xb)[..., 0], 1.0), obs=yb)

    mcmc = make(model, warmup=150, samples=50, kernel=PLAIN)
    mcmc.run(jax.random.key(0), x, y)
    z = mcmc.get_samples()
    assert all(name.startswith("nn/") for name in z)
    weights = next(v for v in z.values() if v.size == 150)
    np.testing.assert_allclose(
        weights.reshape(50, 3).mean(0), [1.0, 0.0, -1.0], atol=0.35
    )


def test_a_draw_keeps_the_types_of_the_state(regression):
    """
    In double precision too, traced alone. (With `JAX_ENABLE_X64` the other tests run in
    it.) A type that changes, be it a weak one to a strong one, makes `MCMC` with a
    progress bar compile the draw twice.
    """
    for x64, dtype in ((False, jnp.float32), (True, jnp.float64)):
        with jax.enable_x64(x64):
            data = tuple(jnp.asarray(a, dtype) for a in regression)
            kernel = PseudoLangevin(linear_model)
            state = jax.eval_shape(
                lambda key: kernel.init(key, 5, None, data, {}),
                jax.random.split(jax.random.key(0), 2),
            )
            new = jax.eval_shape(lambda s: kernel.sample(s, data, {}), state)
        found, before = jax.tree.leaves(new), jax.tree.leaves(state)
        assert [(x.dtype, x.weak_type) for x in found] == [
            (x.dtype, x.weak_type) for x in before
        ]
        for leaf in jax.tree.leaves((new.z, new.scales, new.momentum)):
            assert leaf.dtype == dtype


def test_kernel_pickles(regression):
    kernel = pickle.loads(pickle.dumps(PseudoLangevin(linear_model, friction=0.3)))
    assert kernel.dynamics.friction == 0.3
    kernel.init(jax.random.key(0), 1, None, regression, {})
    pickle.loads(pickle.dumps(kernel))
