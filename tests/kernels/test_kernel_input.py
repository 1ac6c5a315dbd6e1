"""Bad input: each error names the mistake and the remedy, before sampling starts."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from shared_models import PLAIN, linear_model

from numpyro_pl import PseudoLangevin


def run(model, *args, init_params=None, **kwargs):
    mcmc = MCMC(PseudoLangevin(model), num_warmup=1, num_samples=1, progress_bar=False)
    mcmc.run(jax.random.key(0), *args, init_params=init_params, **kwargs)


def run_plain(model, *args):
    kernel = PseudoLangevin(model, **PLAIN)
    mcmc = MCMC(kernel, num_warmup=1, num_samples=1, progress_bar=False)
    mcmc.run(jax.random.key(0), *args)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, float("nan"), "0.1"])
def test_noise_fraction_outside_its_range(value):
    with pytest.raises(ValueError, match=r"noise_fraction must be in \(0, 1\]"):
        PseudoLangevin(linear_model, noise_fraction=value)


@pytest.mark.parametrize("name", ["temperature", "friction", "max_frequency"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "0.1"])
def test_settings_that_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        PseudoLangevin(linear_model, **{name: value})


def test_max_frequency_beyond_stability():
    with pytest.raises(ValueError, match="max_frequency must be positive and below 2"):
        PseudoLangevin(linear_model, max_frequency=2.0)


@pytest.mark.parametrize("value", [0, -3, 2.5, True])
def test_num_steps_must_be_a_positive_whole_number(value):
    with pytest.raises(ValueError, match="num_steps must be a positive whole number"):
        PseudoLangevin(linear_model, num_steps=value)


def test_unknown_increments():
    with pytest.raises(ValueError, match="increments must be one of"):
        PseudoLangevin(linear_model, increments="uniform")


def test_a_setting_that_there_is_not():
    """The error lists those that there are; a step size is not one of them."""
    with pytest.raises(TypeError, match=r"'step_size'.*it takes num_steps, increments"):
        PseudoLangevin(linear_model, step_size=0.1)


def test_an_init_strategy_that_is_none():
    with pytest.raises(ValueError, match="init_strategy must be a strategy of NumPyro"):
        PseudoLangevin(linear_model, init_strategy="median")


def test_neither_or_both_of_model_and_potential():
    with pytest.raises(ValueError, match="neither of `model` and `potential_fn`"):
        PseudoLangevin()
    with pytest.raises(ValueError, match="both of `model` and `potential_fn`"):
        PseudoLangevin(linear_model, potential_fn=lambda z: 0.0)
    with pytest.raises(ValueError, match="must be callable"):
        PseudoLangevin(3)


def test_potential_fn_without_initial_values():
    mcmc = MCMC(
        PseudoLangevin(potential_fn=lambda z: jnp.sum(z**2)),
        num_warmup=1,
        num_samples=1,
        progress_bar=False,
    )
    with pytest.raises(ValueError, match="init_params must be given"):
        mcmc.run(jax.random.key(0))


def test_local_latent_site(regression):
    def model(x):
        with numpyro.plate("data", x.shape[0], subsample_size=10):
            numpyro.sample("local", dist.Normal(0, 1))

    with pytest.raises(
        ValueError, match="'local' is inside the subsampled plate 'data'"
    ):
        run(model, regression[0])


def test_observed_site_without_data(regression):
    def model(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", x.shape[0], subsample_size=10):
            numpyro.sample("y", dist.Normal(w, 1), obs=y)

    with pytest.raises(ValueError, match="its value was None: pass the data"):
        run(model, regression[0], None)


def test_discrete_site_of_all_rows(regression):
    def model(y):
        k = numpyro.sample("k", dist.Bernoulli(0.5))
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", y.shape[0], subsample_size=10):
            yb = numpyro.subsample(y, event_dim=0)
            numpyro.sample("y", dist.Normal(w + k, 1), obs=yb)

    with pytest.raises(ValueError, match="'k' is outside the subsampled plate 'data'"):
        run(model, regression[1])


def test_no_latent_site(regression):
    def model(y):
        numpyro.sample("y", dist.Normal(0, 1).expand(y.shape), obs=y)

    with pytest.raises(ValueError, match="no continuous latent sites"):
        run(model, regression[1])


def test_subsample_size(regression):
    with pytest.raises(ValueError, match="more than its size 600"):
        run(linear_model, *regression, batch=601)
    with pytest.raises(ValueError, match="at least 2 rows"):
        run(linear_model, *regression, batch=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_is_not_finite(regression, value):
    x, y = regression
    with pytest.raises(ValueError, match=r"positional argument 0 \(1 of 1800 values\)"):
        run(linear_model, x.at[590, 1].set(value), y)

    def by_name(x, labels):
        linear_model(x, labels)

    with pytest.raises(ValueError, match=r"keyword argument labels \(2 of 600"):
        run(by_name, x, labels=y.at[:2].set(value))


def test_initial_position_that_is_not_finite(regression):
    with pytest.raises(ValueError, match=r"not finite at the initial position.* w"):
        run(linear_model, *regression, init_params={"w": jnp.full(3, jnp.nan)})


def test_initial_position_of_the_wrong_sites(regression):
    with pytest.raises(ValueError, match=r"for the sites \['w'\], got \['v'\]"):
        run(linear_model, *regression, init_params={"v": jnp.zeros(3)})


def test_masked_missing_values_are_no_error(regression):
    """NaN in the data is refused only where it reaches the potential."""
    x, y = regression
    y = y.at[0].set(jnp.nan)

    def model(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
        with numpyro.plate("data", x.shape[0], subsample_size=100):
            xb = numpyro.subsample(x, event_dim=1)
            yb = numpyro.subsample(y, event_dim=0)
            seen = ~jnp.isnan(yb)
            with numpyro.handlers.mask(mask=seen):
                yb = jnp.where(seen, yb, 0.0)
                numpyro.sample("y", dist.Normal(xb @ w, 1.0), obs=yb)

    run_plain(model, x, y)


def test_arrays_of_different_length_under_one_plate(regression):
    x, y = regression
    with pytest.raises(ValueError, match="needs the plate's length"):
        run(linear_model, x, y[:-1])


@pytest.mark.parametrize("length", [599, 601])
def test_indexed_arrays_of_different_length(length):
    """`y[ind]` is silently clamped by JAX where y is too short."""

    def model(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", x.shape[0], subsample_size=10) as ind:
            numpyro.sample("y", dist.Normal(w * x[ind], 1.0), obs=y[ind])

    with pytest.raises(ValueError, match=f"indexed by plate 'data'.*length {length}"):
        run(model, jnp.ones(600), jnp.zeros(length))


def test_lookup_of_group_effects_is_no_error():
    """An array indexed by the values of an indexed array may have any length."""

    def model(group, y):
        effect = numpyro.sample("effect", dist.Normal(0, 1).expand([5]).to_event(1))
        with numpyro.plate("data", 600, subsample_size=10) as ind:
            numpyro.sample("y", dist.Normal(effect[group[ind]], 1.0), obs=y[ind])

    run_plain(model, jnp.arange(600) % 5, jnp.zeros(600))


def spectral_process(basis, y):
    """A Gaussian process whose spectral densities underflow from a length of 0.36."""
    frequency = jnp.arange(1.0, 31.0) * 1.2
    length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
    z = numpyro.sample("z", dist.Normal(0, 1).expand([30]).to_event(1))
    scales = jnp.sqrt(length * jnp.exp(-0.5 * (length * frequency) ** 2))
    with numpyro.plate("data", len(y), subsample_size=50):
        rows, yb = numpyro.subsample(basis, 1), numpyro.subsample(y, 0)
        numpyro.sample("y", dist.Normal(rows @ (scales * z), 0.3), obs=yb)


def test_a_start_is_not_moved_to_where_there_is_no_gradient():
    """The potential at zero is finite and far lower, but the gradient is NaN there."""
    basis = jnp.sin(jnp.linspace(0.1, 2.5, 500)[:, None] * jnp.arange(1.0, 31.0) * 1.2)
    y = 0.1 * jnp.sin(jnp.linspace(0.0, 9.0, 500))
    start = {"length": jnp.array(-1.5), "z": jnp.full(30, 4.0)}
    run(spectral_process, basis, y, init_params=start)
