"""The partitioned kernels inside NumPyro's MCMC, their groups and their bad input."""

import logging
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from runs_in_pieces import check_resumed, in_pieces
from shared_models import linear_model

from numpyro_pl import (
    LOL,
    SGHMC,
    SGLD,
    SGNHT,
    AdLaLa,
    MultilayerLangevin,
    PartitionedLangevin,
)
from numpyro_pl.dynamics import (
    AdaptiveLangevin,
    Langevin,
    OverdampedLangevin,
    PseudoLangevinDynamics,
    StepAndFriction,
)


def network(x, y, batch=50):
    """One hidden layer of four, normal priors."""
    normal = lambda *shape: dist.Normal(0, 1).expand(shape).to_event()  # noqa: E731
    w1, b1 = numpyro.sample("w1", normal(3, 4)), numpyro.sample("b1", normal(4))
    w2 = numpyro.sample("w2", normal(4))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(jnp.tanh(xb @ w1 + b1) @ w2, 1.0), obs=yb)


def make(kernel, warmup=16, samples=6, chains=2, **kwargs):
    kwargs.setdefault("chain_method", "vectorized")
    return MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=samples,
        num_chains=chains,
        progress_bar=False,
        **kwargs,
    )


MIXED = {"?1": AdaptiveLangevin(), "*": PseudoLangevinDynamics()}
FIELDS = ("kinetic_temperature", "thermostat", "noise_fraction", "potential_energy")


@pytest.fixture(scope="module")
def pieces(regression):
    """Runs of two dynamics, of which one has a thermostat."""
    kernel = PartitionedLangevin(network, MIXED, num_steps=3)
    return in_pieces(kernel, regression, "w1", FIELDS)


@pytest.fixture(scope="module")
def mixed(pieces):
    return pieces.mcmc


def test_fields_have_an_entry_for_each_group(mixed):
    fields = mixed.get_extra_fields(group_by_chain=True)
    assert fields["kinetic_temperature"].shape == (2, 16, 2)
    assert fields["thermostat"].shape == (2, 16, 2)
    assert fields["diverging"].shape == (2, 16)
    thermostat = np.asarray(fields["thermostat"])
    assert (thermostat[..., 0] > 0).all()
    assert (thermostat[..., 1] == 0).all()
    # Step length and friction for the first layer, a step size a weight elsewhere.
    first, others = mixed.last_state.scales
    assert isinstance(first, StepAndFriction)
    assert first.step_size.shape == first.friction.shape == (2,)
    assert [x.shape for x in jax.tree.leaves(others)] == [(2, 4)]
    one = jax.tree.map(lambda x: x[0], mixed.last_state)
    text = mixed.sampler.get_diagnostics_str(one)
    assert text.startswith("sampling temperature=")
    assert "," in text.split()[1]


def test_groups_are_named_in_arviz(mixed):
    az = pytest.importorskip("arviz")
    idata = az.from_numpyro(mixed, coords=mixed.sampler.coords)
    for field in ("kinetic_temperature", "thermostat"):
        values = idata["sample_stats"][field]
        name = f"{field}_dim_0"
        assert list(values.coords[name].values) == ["?1", "*"]
        assert values.sel({name: "?1"}).shape == (2, 16)


def test_resume_is_bit_identical_and_the_same_after_pickling(pieces):
    check_resumed(pieces)


def test_sequential_chains(regression):
    mcmc = make(AdLaLa(network, step_size=0.1), chain_method="sequential")
    mcmc.run(jax.random.key(0), *regression, extra_fields=FIELDS)
    assert mcmc.get_extra_fields(group_by_chain=True)["thermostat"].shape == (2, 6, 2)


@pytest.mark.parametrize("make_kernel", [SGLD, SGHMC, SGNHT])
def test_warmup_sets_the_step_size(make_kernel, regression):
    """
    By the noise, with 50 rows of 600: the mean share is the one asked for, also where
    the friction of the setting alone would not do. By curvature on the full data: the
    largest frequency is 0.5 radians a step. One group has a scalar temperature.
    """
    mcmc = make(make_kernel(linear_model), warmup=64)
    mcmc.run(jax.random.key(0), *regression, extra_fields=("noise_fraction",))
    fraction = np.asarray(mcmc.get_extra_fields()["noise_fraction"])
    print("noise fraction", fraction)
    np.testing.assert_allclose(fraction, 0.05, rtol=0.05)
    fields = mcmc.get_extra_fields(group_by_chain=True)
    assert fields["kinetic_temperature"].shape == (2, 6)
    assert mcmc.sampler.coords == {}
    x = np.asarray(regression[0], np.float64)
    largest = np.linalg.eigvalsh(x.T @ x + np.eye(3))[-1] / 600
    full = make(make_kernel(linear_model), warmup=64)
    full.run(jax.random.key(0), *regression, batch=None)
    h = np.asarray(full.last_state.scales[0].step_size)
    print("largest frequency", h * largest**0.5)
    # One chain in eight has met a hot block, and its steps have not grown back yet.
    factor = np.asarray(full.last_state.control.factor)
    assert factor.max() == 1.0
    np.testing.assert_allclose(h * (largest / factor) ** 0.5, 0.5, rtol=0.1)


def test_own_step_sizes_are_kept(regression):
    partition = {"?1": Langevin(step_size=0.03), "*": OverdampedLangevin()}
    mcmc = make(PartitionedLangevin(network, partition, step_size=0.07))
    mcmc.run(jax.random.key(0), *regression)
    first, others = mcmc.last_state.scales
    np.testing.assert_allclose(first.step_size, 0.03, rtol=1e-6)
    np.testing.assert_allclose(others.step_size, 0.07, rtol=1e-6)


def test_units_are_those_of_the_mean_loss():
    """
    `U = N x^2 / 2` has frequency 1 in `U / N`: a free step of length h from x = 1 moves
    it by `-h^2 / 2` times one, whatever N is.
    """
    for n in (10, 1000):

        def model(y, n=n):
            x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
            with numpyro.plate("data", n):
                numpyro.sample("y", dist.Normal(x, 1.0), obs=y)

        kernel = SGHMC(model, step_size=0.2, friction=1e-6, num_steps=1)
        mcmc = make(kernel, warmup=0, samples=1, chains=1)
        start = {"x": jnp.array(1.0)}
        kernel_state = kernel.init(jax.random.key(0), 0, start, (jnp.zeros(n),), {})
        assert kernel_state.kinetic_temperature == 1.0
        mcmc.run(jax.random.key(0), jnp.zeros(n), init_params=start)
        z, (u,) = mcmc.last_state.z["x"], jax.tree.leaves(mcmc.last_state.momentum)
        # x1 = x0 + (w + u) / 2 with w = u0 - h^2 x0 and u = w: x0 + u.
        np.testing.assert_allclose(z - u, 1.0, atol=1e-3)
        # The momentum before the kick was thermal: h / sqrt(N) at most a few times.
        assert abs(u + 0.2**2) < 5 * 0.2 / n**0.5


def test_divergence_is_flagged_and_survived(regression):
    mcmc = make(SGHMC(linear_model, step_size=5.0), warmup=0)
    with pytest.warns(UserWarning, match="draws since the end of warmup diverged"):
        mcmc.run(jax.random.key(0), *regression)
    assert mcmc.get_extra_fields()["diverging"].all()
    assert int(mcmc.last_state.num_divergences.sum()) == 12
    assert np.isfinite(mcmc.get_samples()["w"]).all()


def test_first_layer_is_found_and_logged(regression, caplog):
    with caplog.at_level(logging.INFO, "numpyro_pl"):
        kernel = LOL(network, step_size=0.1)
        kernel.init(jax.random.key(0), 16, None, regression, {})
    assert "LOL takes as first layer: b1, w1" in caplog.text


def test_misfits_are_found_before_sampling(regression):
    kernel = PartitionedLangevin(network, {"w*": Langevin()})
    with pytest.raises(ValueError, match="site 'b1' is matched by no pattern"):
        make(kernel).run(jax.random.key(0), *regression)
    with pytest.raises(ValueError, match="matches no site"):
        make(AdLaLa(network, first_layer="nn/*")).run(jax.random.key(0), *regression)
    with pytest.raises(ValueError, match="none has a number"):
        make(AdLaLa(linear_model)).run(jax.random.key(0), *regression)


@pytest.mark.parametrize("partition", [None, {}, [Langevin()]])
def test_empty_partition(partition):
    with pytest.raises(ValueError, match="partition is empty"):
        PartitionedLangevin(network, partition)


@pytest.mark.parametrize(
    ("make_bad", "name"),
    [
        (lambda: AdaptiveLangevin(coupling=-0.1), "coupling"),
        (lambda: AdaptiveLangevin(sigma=-1.0), "sigma"),
        (lambda: Langevin(friction=-1.0), "friction"),
        (lambda: Langevin(temperature=0.0), "temperature"),
        (lambda: OverdampedLangevin(step_size=-0.1), "step_size"),
        (lambda: PseudoLangevinDynamics(noise_fraction=2.0), "noise_fraction"),
        (lambda: SGLD(network, step_size=0.0), "step_size"),
        (lambda: SGHMC(network, friction=-1), "friction"),
        (lambda: SGNHT(network, coupling=0), "coupling"),
        (lambda: AdLaLa(network, sigma=-0.1), "sigma"),
        (lambda: AdLaLa(network, first_layer=3), "first_layer"),
        (lambda: LOL(network, num_steps=0), "num_steps"),
        (lambda: SGLD(network, max_frequency=3), "max_frequency"),
        (lambda: PartitionedLangevin(network, {"*": 0.1}), "'\\*' must be"),
        (lambda: MultilayerLangevin(network, {"*": AdaptiveLangevin()}), "'\\*'"),
        (lambda: PartitionedLangevin(None, {"*": Langevin()}), "neither"),
    ],
)
def test_bad_settings(make_bad, name):
    with pytest.raises(ValueError, match=name):
        make_bad()


def test_settings_by_position():
    assert Langevin(0.3, 2.0) == Langevin(friction=0.3, temperature=2.0)
    assert AdaptiveLangevin(0.1, 0.2, 3.0) == AdaptiveLangevin(
        sigma=0.1, coupling=0.2, temperature=3.0
    )
    assert OverdampedLangevin(2.0) == OverdampedLangevin(temperature=2.0)


def test_potential_of_a_tree():
    """Leaves are named by their path; both groups reach the target's variance."""
    kernel = PartitionedLangevin(
        potential_fn=lambda z: 0.5 * jnp.sum(z["a"]["w"] ** 2) + jnp.sum(z["b"] ** 2),
        partition={"a.*": OverdampedLangevin(), "b": Langevin(friction=0.5)},
    )
    mcmc = make(kernel, warmup=40, samples=200, chains=20)
    start = {"a": {"w": jnp.zeros((20, 10))}, "b": jnp.zeros((20, 10))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mcmc.run(jax.random.key(0), init_params=start)
    z = mcmc.get_samples()
    # About 200 * 200 * 10 dependent values: 4 standard errors at an autocorrelation of
    # up to 50 draws.
    np.testing.assert_allclose(np.mean(z["a"]["w"] ** 2), 1.0, atol=0.1)
    np.testing.assert_allclose(np.mean(z["b"] ** 2), 0.5, atol=0.05)
