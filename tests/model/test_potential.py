"""Minibatch potentials against the full-data potential."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer.util import potential_energy
from shared_models import linear_model

from numpyro_pl.model import potential as potential_module
from numpyro_pl.model.full_data import FullDataModel
from numpyro_pl.model.plates import PlateSize, PlateSizes, _below
from numpyro_pl.model.potential import MinibatchPotential


@pytest.fixture
def potential(regression):
    x, y = regression
    plates = PlateSizes.of(linear_model, x, y)
    return MinibatchPotential(linear_model, plates), (x, y), {"w": jnp.ones(3)}


def test_plate_sizes_are_read_off_the_model(regression):
    plates = PlateSizes.of(linear_model, *regression)
    assert plates == {"data": PlateSize(600, 100)}
    assert plates.steps_per_epoch == 6
    assert PlateSizes.of(linear_model, *regression, batch=None) == {}


def test_full_potential_is_numpyros(potential):
    pot, data, z = potential
    exact = potential_energy(FullDataModel(linear_model), data, {}, z)
    np.testing.assert_allclose(pot.full(z, data, {}), exact, rtol=1e-5)


def test_full_potential_in_chunks_is_the_same(potential, monkeypatch):
    pot, data, z = potential
    exact, exact_grad = jax.jit(jax.value_and_grad(pot.full))(z, data, {})
    monkeypatch.setattr(potential_module, "FULL_CHUNK", 110)  # 5 chunks and 50 rows
    value, grad = jax.jit(pot.full_value_and_grad)(z, data, {})
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    np.testing.assert_allclose(grad["w"], exact_grad["w"], rtol=1e-4)


def test_minibatch_gradient_is_unbiased(potential):
    """The mean over 20,000 minibatches within 4 se: false alarm 2e-4 over 3 entries."""
    pot, data, z = potential
    num = 20_000
    batches = pot.draw_indices(random.key(1), num)
    grad = jax.grad(lambda z, b: pot(z, b, data, {}))
    grads = jax.jit(jax.vmap(lambda b: grad(z, b)["w"]))(batches)
    exact = jax.jit(jax.grad(pot.full))(z, data, {})["w"]
    error = (grads.mean(0) - exact) / (grads.std(0) / num**0.5)
    assert np.max(np.abs(error)) < 4, error


@pytest.mark.parametrize("nested", [False, True])
def test_several_plates_are_unbiased(nested):
    """The mean over 20,000 minibatches within 4.5 se (false alarm 1e-5)."""
    key_x, key_y, key_u = random.split(random.key(0), 3)
    x = random.normal(key_x, (12,))
    y = 1 + random.normal(key_y, (10, 1))
    u = 2 + random.normal(key_u, (10, 12))

    def model(x, y, u):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("a", 12, subsample_size=4, dim=-1):
            xa = numpyro.subsample(x, event_dim=0)
            numpyro.sample("x", dist.Normal(w, 1), obs=xa)
        with numpyro.plate("b", 10, subsample_size=5, dim=-2):
            yb = numpyro.subsample(y, event_dim=0)
            numpyro.sample("y", dist.Normal(w, 2), obs=yb)
            if nested:
                with numpyro.plate("c", 12, subsample_size=6, dim=-1):
                    ub = numpyro.subsample(u, event_dim=0)
                    numpyro.sample("u", dist.Normal(w, 3), obs=ub)

    plates = PlateSizes.of(model, x, y, u)
    assert set(plates) == ({"a", "b", "c"} if nested else {"a", "b"})
    pot = MinibatchPotential(model, plates)
    z = {"w": jnp.asarray(0.3)}
    num = 20_000
    batches = pot.draw_indices(random.key(1), num)
    grad = jax.grad(lambda z, b: pot(z, b, (x, y, u), {}))
    grads = jax.jit(jax.vmap(lambda b: grad(z, b)["w"]))(batches)
    exact = jax.jit(jax.grad(lambda z: pot.full(z, (x, y, u), {})))(z)["w"]
    assert abs(grads.mean() - exact) < 4.5 * grads.std() / num**0.5
    # Halves are unbiased too, and their half-difference is their mean's variance.
    of_halves = jax.vmap(lambda b: jax.vmap(lambda h: grad(z, h)["w"])(pot.halves(b)))
    halves = jax.jit(of_halves)(batches)
    mean = halves.mean(1)
    assert abs(mean.mean() - exact) < 4.5 * mean.std() / num**0.5
    estimate = 0.25 * (halves[:, 0] - halves[:, 1]) ** 2
    spread = (mean - mean.mean()) ** 2
    gap = estimate - spread
    assert abs(gap.mean()) < 4.5 * gap.std() / num**0.5


def test_indices_are_uniform():
    """Chi-square of 100,000 rows in 1000 bins within 5 sd, for sizes above 2^16 too."""
    words = random.bits(random.key(0), (100_000,), jnp.uint32)
    for size in (7, 1000, 65_536, 1_000_003):
        rows = np.asarray(_below(words, size)).astype(np.int64)
        exact = (np.asarray(words).astype(np.uint64) * np.uint64(size)) >> np.uint64(32)
        np.testing.assert_array_equal(rows, exact.astype(np.int64))
        bins = min(size, 1000)
        counts = np.bincount(rows * bins // size, minlength=bins)
        expected = 100_000 / bins
        chi2 = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi2 - (bins - 1)) < 5 * (2 * (bins - 1)) ** 0.5


def test_subsample_size_larger_than_the_plate(regression):
    with pytest.raises(ValueError, match=r"plate 'data' has subsample_size=601"):
        PlateSizes.of(linear_model, *regression, batch=601)


def test_batch_of_one(regression):
    with pytest.raises(ValueError, match="at least 2 rows"):
        PlateSizes.of(linear_model, *regression, batch=1)
