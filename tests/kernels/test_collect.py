"""What a draw keeps, in every way that NumPyro's MCMC collects it."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC

from numpyro_pl import LOL, SGLD, PartitionedLangevin, PseudoLangevin
from numpyro_pl.dynamics import Langevin
from numpyro_pl.kernels.account import OF_EVERY_RUN
from numpyro_pl.kernels.collect import collected

X_TEST = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])


def model(x, y, batch=100):
    w = numpyro.sample("nn/w[0]", dist.Normal(0, 1).expand([3]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    numpyro.deterministic("norm", jnp.sum(w**2))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        mean = numpyro.deterministic("mean", xb @ w)
        numpyro.sample("y", dist.Normal(mean, sigma), obs=yb)


def predicted(values):
    """Predictions, and something of a deterministic site."""
    assert set(values) == {"nn/w[0]", "sigma", "norm"}
    return {"f": X_TEST @ values["nn/w[0]"], "more": {"norm": 2 * values["norm"]}}


def make(collect=None, samples=12, **mcmc):
    kernel = SGLD(model, step_size=0.05, num_steps=5, collect=collect)
    mcmc = {"num_chains": 2, "chain_method": "vectorized", **mcmc}
    return MCMC(kernel, num_warmup=4, num_samples=samples, progress_bar=False, **mcmc)


@pytest.fixture(scope="module")
def whole(regression):
    """A run that keeps everything."""
    mcmc = make()
    mcmc.run(jax.random.key(0), *regression)
    return mcmc


@pytest.fixture(scope="module")
def halves(regression):
    """The same draws by a function of them, in two runs."""
    mcmc, draws = make(predicted, samples=6), []
    mcmc.progress_bar = True  # one program for both runs
    for _ in range(2):
        state = mcmc.last_state
        key = jax.random.key(0) if state is None else state.rng_key
        mcmc.post_warmup_state = state
        mcmc.run(key, *regression, extra_fields=("noise_fraction",))
        draws.append(mcmc.get_samples(group_by_chain=True))
    return mcmc, jax.tree.map(lambda *x: np.concatenate(x, 1), *draws)


def test_a_function_of_the_constrained_values(whole, halves):
    """The same chain bit for bit, also resumed, with the full state at its end."""
    mcmc, found = halves
    draws = whole.get_samples(group_by_chain=True)
    assert set(found) == {"f", "more.norm"}
    expected = draws["nn/w[0]"] @ X_TEST.T
    np.testing.assert_allclose(found["f"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["more.norm"], 2 * draws["norm"], rtol=1e-5)
    assert set(mcmc.get_extra_fields()) == {*OF_EVERY_RUN}
    for name, value in whole.last_state.z.items():
        np.testing.assert_array_equal(mcmc.last_state.z[name], value)


@pytest.mark.parametrize(
    ("collect", "names"),
    [
        ("sigma", {"sigma"}),
        (["nn/w[0]", "n?rm"], {"nn/w[0]", "norm"}),
        ("*", {"nn/w[0]", "norm", "sigma"}),
    ],
)
def test_patterns(whole, collect, names):
    draws = whole.get_samples()
    found = collected(collect, draws, ["mean"])
    assert set(found) == names
    for name in names:
        np.testing.assert_array_equal(found[name], draws[name])


def test_nothing_is_evaluated_in_the_warmup(regression):
    """Counted by a callback; what is not evaluated is not a number."""
    calls = []

    def counted(values):
        jax.debug.callback(lambda: calls.append(1))
        return values["sigma"]

    kernel = make(counted).sampler
    state = kernel.init(jax.random.key(0), 4, None, regression, {})
    sample = jax.jit(lambda state: kernel.sample(state, regression, {}))
    for i in range(7):
        assert np.isnan(state.kept["collected"]) == (i <= 4)
        state = sample(state)
        jax.effects_barrier()
        assert len(calls) == max(0, i - 3)


def test_sequential_and_thinned(regression, whole):
    mcmc = make("sigma", thinning=3, chain_method="sequential")
    mcmc.run(jax.random.key(0), *regression)
    found = mcmc.get_samples(group_by_chain=True)["sigma"]
    assert found.shape == (2, 4)
    assert (found > 0).all()


def test_arviz(halves):
    data = az.from_numpyro(halves[0])
    assert data.posterior["f"].shape == (2, 6, 2)
    assert data.posterior["more.norm"].shape == (2, 6)
    assert data.sample_stats["noise_fraction"].shape == (2, 6)


@pytest.mark.parametrize(
    ("kernel", "settings"),
    [
        (LOL, {"first_layer": "nn*"}),
        (SGLD, {}),
        (PartitionedLangevin, {"partition": {"*": Langevin()}}),
    ],
)
def test_every_kernel_collects(kernel, settings, regression):
    kernel = kernel(model, num_steps=5, collect="norm", **settings)
    assert kernel.sample_field == "kept"
    assert kernel.default_fields[:2] == ("kept", "diverging")
    assert "z" not in kernel.default_fields
    state = jax.eval_shape(
        lambda key: kernel.init(key, 5, None, regression, {}), jax.random.key(0)
    )
    assert state.kept["norm"].shape == ()


def test_potential_fn():
    kernel = PseudoLangevin(
        potential_fn=lambda z: 0.5 * sum(jnp.sum(x**2) for x in z), collect="1"
    )
    mcmc = MCMC(kernel, num_warmup=5, num_samples=3, progress_bar=False)
    mcmc.run(jax.random.key(0), init_params=(jnp.ones(2), jnp.zeros(())))
    assert mcmc.get_samples()["1"].shape == (3,)
    np.testing.assert_array_equal(mcmc.get_samples()["1"][-1], mcmc.last_state.z[1])


@pytest.mark.parametrize(
    ("collect", "message"),
    [
        ("b*", r"collect='b\*' matches no site.*'nn/w\[0\]', 'norm', 'sigma'"),
        ("mean", "'mean', which depends on the minibatch"),
        (lambda v: v["b"], "asks for 'b'.*of the sites 'nn/w"),
        (lambda v: None, "returned no arrays"),
        (lambda v: {"a": "text"}, "must return an array, or a dict"),
    ],
)
def test_mistakes_are_reported_before_sampling(collect, message, regression):
    kernel = PseudoLangevin(model, collect=collect)
    with pytest.raises(ValueError, match=message):
        kernel.init(jax.random.key(0), 5, None, regression, {})


@pytest.mark.parametrize("collect", [3, [], [1], {"a": 1}])
def test_bad_settings(collect):
    with pytest.raises(ValueError, match="collect must be a pattern"):
        PseudoLangevin(model, collect=collect)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="another compiler")
def test_memory_does_not_grow_with_draws_times_weights():
    """1,000 draws of 2,000 weights are 8 MB, of what is kept 4 kB; the state is kept
    once."""

    def held(collect):
        kernel = PseudoLangevin(
            potential_fn=lambda z: 0.5 * jnp.sum(z["w"] ** 2),
            num_steps=2,
            collect=collect,
        )
        mcmc = MCMC(kernel, num_warmup=2, num_samples=1000, progress_bar=False)

        def go(key):
            mcmc.run(key, init_params={"w": jnp.ones(2000)})
            return mcmc.get_samples(), mcmc.last_state

        memory = jax.jit(go).lower(jax.random.key(0)).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    assert held(None) > 8e6
    kept = held(lambda values: jnp.sum(values["w"]))
    print("bytes held by a run that keeps a number of each draw:", kept)
    assert kept < 40 * 2000 * 4
