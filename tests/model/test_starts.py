"""Starts by our own code against those of NumPyro."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer.initialization import init_to_median, init_to_uniform
from numpyro.infer.util import initialize_model

from numpyro_pl import PseudoLangevin
from numpyro_pl.kernels.start import two_keys
from numpyro_pl.model import starts
from numpyro_pl.model.starts import first_position


def model(y):
    """Sites in another order than their names; half of all starts are impossible."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    shares = numpyro.sample("a", dist.Dirichlet(jnp.ones(3)))
    numpyro.factor("half", jnp.where(w[0] > 0, 0.0, -jnp.inf))
    numpyro.sample("y", dist.Normal(w[0] + shares[0], scale), obs=y)


def potential(z):
    """Impossible in the same half as the model's."""
    return jnp.where(z["w"][0] > 0, sum(jnp.sum(x**2) for x in z.values()), jnp.inf)


@pytest.fixture(scope="module")
def numpyros():
    """Starts of twelve chains, and their keys."""
    keys, y = random.split(random.key(0), 12), jnp.ones(5)

    def found(keys):
        return initialize_model(
            keys, model, dynamic_args=True, model_args=(y,)
        ).param_info.z

    return keys, y, jax.jit(found)(keys)


def test_uniform_starts_are_those_of_numpyro(numpyros):
    keys, y, expected = numpyros
    ours = jax.jit(
        lambda k: first_position(k, model, ((y,), {}), init_to_uniform, potential)
    )
    jax.tree.map(np.testing.assert_array_equal, ours(keys), expected)
    assert (expected["w"][:, 0] > 0).all()
    one = ours(keys[3])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[3]), one, expected)


def test_the_radius_of_a_strategy_and_other_strategies(monkeypatch):
    """Only other strategies ask NumPyro for more than shapes."""
    y = jnp.ones(5)
    run = partial(first_position, random.key(1), model, ((y,), {}))
    narrow = jax.jit(lambda: run(init_to_uniform(radius=0.1), potential))()
    assert all(np.abs(x).max() < 0.1 for x in narrow.values())
    assert len({float(x) for v in narrow.values() for x in np.ravel(v)}) == 6
    monkeypatch.setattr(starts.UniformStarts, "search", None)
    median = jax.eval_shape(lambda: run(init_to_median(num_samples=3), potential))
    assert set(median) == {"w", "scale", "a"}


@pytest.mark.parametrize("chains", [1, 12])
def test_a_kernel_starts_where_numpyro_does(numpyros, chains):
    """Half of all starts are impossible, and drawn again until one is not."""
    _, y, _ = numpyros
    keys = random.split(random.key(0), chains) if chains > 1 else random.key(4)
    state = PseudoLangevin(model).init(keys, 0, None, (y,), {})
    own = initialize_model(
        two_keys(keys)[1], model, dynamic_args=True, model_args=(y,)
    ).param_info.z
    jax.tree.map(np.testing.assert_array_equal, state.z, own)
    assert np.all(own["w"][..., 0] > 0)
    warm = PseudoLangevin(model).init(keys, 10, None, (y,), {})
    assert np.all(warm.z["w"][..., 0] > 0)
    assert np.all(np.isfinite(warm.potential_energy))


def test_a_start_that_is_never_possible_is_an_error():
    def impossible(y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        numpyro.factor("nowhere", jnp.where(w > 100, 0.0, -jnp.inf))
        numpyro.sample("y", dist.Normal(w, 1), obs=y)

    with pytest.raises(ValueError, match="not finite at the initial position"):
        PseudoLangevin(impossible).init(random.key(0), 10, None, (jnp.ones(3),), {})
