# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Sweeps over temperatures: what they return, what they refuse, what they compute."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC, NUTS
from shared_models import linear_model

import numpyro_pl as npl
from numpyro_pl.diagnostics import classification_metrics
from numpyro_pl.diagnostics.batch_means import averaged, no_sums, with_draw

TEMPERATURES, CHAINS = [4.0, 0.25, 1.0], 8
CURVATURE = np.array([[2.0, 0.5], [0.5, 1.0]])


def gaussian(z):
    return 0.5 * z @ jnp.asarray(CURVATURE, z.dtype) @ z


def swept(kernel, temperatures=TEMPERATURES, num_samples=300, **settings):
    start = jnp.ones((settings.pop("num_chains", CHAINS), 2))
    return npl.temperature_sweep(
        kernel,
        temperatures,
        jax.random.key(0),
        num_warmup=settings.pop("num_warmup", 60),
        num_samples=num_samples,
        num_chains=len(start),
        init_params=start,
        **settings,
    )


@pytest.fixture(scope="module")
def sweep():
    metrics = {
        "square": lambda z: jnp.outer(z, z),
        "both": lambda z: {"first": z[0], "one": 1},
    }
    kernel = npl.PseudoLangevin(potential_fn=gaussian, friction=0.3)
    return swept(kernel, metrics=metrics)


def test_the_covariance_grows_with_the_temperature(sweep):
    """
    Exact: T times the inverse curvature, and a potential of T on average. 3
    temperatures of 4 numbers each within 4.5 standard errors, which 1 sweep in 10,000
    fails.
    """
    temperature = sweep.temperature.to_numpy()
    exact = temperature[:, None, None] * np.linalg.inv(CURVATURE)
    z = (sweep.square.to_numpy() - exact) / sweep.square_se.to_numpy()
    energy = sweep.potential_energy.to_numpy()
    z_energy = (energy - temperature) / sweep.potential_energy_se.to_numpy()
    print(z, z_energy)
    assert np.abs(z).max() < 4.5
    assert np.abs(z_energy).max() < 4.5
    # The test says something only if errors are small.
    assert (sweep.square_se[:, 0, 0] < 0.1 * exact[:, 0, 0]).all()
    kinetic = sweep.kinetic_temperature / temperature
    assert np.abs(kinetic.to_numpy() - 1).max() < 0.1


def test_what_a_sweep_returns(sweep):
    assert sweep.temperature.to_numpy().tolist() == TEMPERATURES
    assert sweep.square.shape == sweep.square_se.shape == (3, 2, 2)
    assert sweep["both.first"].dims == ("temperature",)
    np.testing.assert_allclose(sweep["both.one"], 1.0)
    np.testing.assert_allclose(sweep["both.one_se"], 0.0)
    assert sweep.divergences.to_numpy().tolist() == [0, 0, 0]
    assert (abs(sweep.r_hat - 1) < 0.05).all()
    np.testing.assert_allclose(sweep.noise_fraction, 0.0)


def test_a_draw_that_diverged_has_no_share_in_the_temperature():
    """A cliff at 3.5 standard deviations: some draws step over it, and are NaN."""

    def cliff(z):
        return (0.5 * z**2 + 0 * jnp.sqrt(3.5**2 - z**2)).sum()

    kernel = npl.PseudoLangevin(potential_fn=cliff, friction=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sweep = swept(kernel, [1.0])
    assert sweep.divergences > 0
    assert abs(sweep.kinetic_temperature - 1) < 0.2


def test_a_sweep_adapts_no_more_often_than_a_run():
    """The potential is evaluated as often, at each temperature, as in a run of one."""
    calls = []

    def counted(z):
        jax.debug.callback(lambda x: calls.append(0), z[0])
        return gaussian(z)

    kernel = npl.PseudoLangevin(potential_fn=counted, num_steps=4)
    plan = {"num_warmup": 20, "num_samples": 5}
    mcmc = MCMC(
        kernel, num_chains=2, chain_method="vectorized", progress_bar=False, **plan
    )
    mcmc.run(jax.random.key(0), init_params=jnp.ones((2, 2)))
    jax.effects_barrier()
    alone = len(calls)
    calls.clear()
    with pytest.warns(UserWarning, match="not to be trusted"):
        swept(kernel, [1.0, 2.0, 3.0], num_chains=2, **plan)
    jax.effects_barrier()
    print(alone, len(calls))
    assert len(calls) == 3 * alone


def test_a_start_is_that_of_a_kernel_at_this_temperature():
    """All of the state: whether a chain starts nearer to zero depends on T."""
    start, key = {"init_params": jnp.array([3.0, 0.0])}, jax.random.key(0)
    hot = npl.PseudoLangevin(potential_fn=gaussian, temperature=7.0)
    cold = npl.PseudoLangevin(potential_fn=gaussian)
    expected = jax.tree.map(np.asarray, hot.init(key, 10, **start)._replace(rng_key=0))
    found = cold.init_at(7.0, key, 10, **start)._replace(rng_key=0)
    jax.tree.map(np.testing.assert_allclose, found, expected)
    assert found.z[0] == 3.0
    assert cold.init(key, 10, **start).z[0] < 3.0


def test_groups_get_the_same_temperature():
    """Kinetic temperatures have an axis of groups."""
    kernel = npl.PartitionedLangevin(
        partition={
            "a": npl.dynamics.Langevin(temperature=0.1),
            "b": npl.dynamics.OverdampedLangevin(),
        },
        potential_fn=lambda z: gaussian(jnp.stack([z["a"], z["b"]])),
        num_steps=2,
        step_size=0.3,
    )
    start = {"a": jnp.ones(4), "b": jnp.ones(4)}
    sweep = npl.temperature_sweep(
        kernel,
        [2.0],
        jax.random.key(0),
        num_warmup=50,
        num_samples=400,
        init_params=start,
    )
    assert sweep.kinetic_temperature.dims == ("temperature", "group")
    assert np.abs(sweep.kinetic_temperature.to_numpy() - 2.0).max() < 0.5


@pytest.mark.parametrize(
    ("temperatures", "message"),
    [
        ([], "at least one positive number"),
        ([[1.0, 2.0]], "at least one positive number"),
        ([1.0, 0.0], "each temperature must be positive"),
        ([-1.0], "each temperature must be positive"),
        (["hot"], "each temperature must be a positive number"),
        ([float("nan")], "each temperature must be positive"),
        ([1.0, 2.0, 1], "has 1 more than once"),
    ],
)
def test_temperatures_that_are_none(temperatures, message):
    kernel = npl.PseudoLangevin(potential_fn=gaussian)
    with pytest.raises(ValueError, match=message):
        swept(kernel, temperatures)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("error", "metrics must be a function"),
        ({"error": 0.1}, "metrics must be a function"),
        (lambda z: None, "where an array is missing"),
        ({"a": lambda z: {"b": z, "c": None}}, "where an array is missing"),
        (lambda z: {"a": "0.3"}, "the metric 'a' is '0.3'"),
        (lambda z: 1j * z, "return real numbers"),
        ({"r_hat": lambda z: z}, "itself reports r_hat"),
        ({"potential_energy_se": lambda z: z}, "itself reports potential_energy_se"),
    ],
)
def test_metrics_that_are_none(metrics, message):
    """Before sampling: the potential is never advanced."""
    kernel = npl.PseudoLangevin(potential_fn=gaussian)
    with pytest.raises(ValueError, match=message):
        swept(kernel, [1.0], metrics=metrics)


def test_a_kernel_of_another_package():
    with pytest.raises(TypeError, match="needs a kernel of this package"):
        swept(NUTS(linear_model))


@pytest.mark.parametrize("name", ["num_warmup", "num_samples", "num_chains"])
def test_numbers_that_are_too_small(name):
    kernel = npl.PseudoLangevin(potential_fn=gaussian)
    arguments = {"num_warmup": 10, "num_samples": 10, "num_chains": 2, name: -1}
    with pytest.raises(ValueError, match=f"{name} must be"):
        npl.temperature_sweep(kernel, [1.0], jax.random.key(0), **arguments)


@pytest.mark.parametrize("num_draws", [7, 50, 60, 173, 1000])
def test_means_over_batches_are_those_of_the_draws(num_draws):
    """
    And the standard errors of independent draws those of theory, within 25 %; that of a
    constant is zero, also where batches differ by one draw.
    """
    draws = np.random.default_rng(0).normal(size=(num_draws, 2, 4, 31)).astype("f4")
    draws[..., -1] = 1.0
    sums = no_sums(jnp.asarray(draws[0]), num_draws, num_axes=2)
    assert len(sums) == min(num_draws, 50)

    def with_one(i, s):
        return with_draw(s, jnp.asarray(draws)[i], i, num_draws)

    average = averaged(jax.lax.fori_loop(0, num_draws, with_one, sums), num_draws)
    np.testing.assert_allclose(average.mean, draws.mean((0, 2)), atol=1e-5)
    theory = 1 / (4 * num_draws) ** 0.5
    assert abs(average.standard_error[:, :-1].mean() / theory - 1) < 0.25
    np.testing.assert_allclose(average.standard_error[:, -1], 0.0)


def test_large_arrays_have_fewer_batches():
    assert len(no_sums(jnp.zeros((2, 4, 10_000)), 1000, num_axes=2)) == 8


def test_metrics_of_a_classifier_are_the_scores():
    rng = np.random.default_rng(0)
    out, y = rng.normal(size=(500, 3)) * 2, rng.integers(0, 3, 500)
    y[:300] = out[:300].argmax(-1)
    found = classification_metrics(lambda p, x: p * x, jnp.asarray(out), y)(1.0)
    p = np.asarray(jax.nn.softmax(jnp.asarray(out)))
    scores = npl.diagnostics
    assert found["error"] == pytest.approx(1 - scores.accuracy(y, p), abs=1e-6)
    assert found["loss"] == pytest.approx(scores.log_loss(y, p), abs=1e-5)
    error = scores.expected_calibration_error(y, p)
    assert found["calibration_error"] == pytest.approx(error, abs=1e-5)


def test_metrics_of_a_classifier_refuse_other_shapes():
    with pytest.raises(ValueError, match="not one-hot"):
        classification_metrics(lambda p, x: x, 0, np.eye(3))
    metrics = classification_metrics(lambda p, x: x, jnp.zeros((4, 2)), [0, 1, 2, 1])
    with pytest.raises(ValueError, match="at least 3 classes"):
        metrics({})
