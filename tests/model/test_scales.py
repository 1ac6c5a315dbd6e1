# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""In which sites of a model chains are compared."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_pl import PseudoLangevin
from numpyro_pl.model.sites import inspect_sites
from numpyro_pl.warmup import settling


def model(y):
    numpyro.sample("length", dist.LogNormal(0, 1))
    numpyro.sample("share", dist.Beta(2, 2).expand([1]).to_event(1))
    sd = numpyro.sample("sd", dist.HalfNormal(1))
    numpyro.sample("of_each", dist.HalfNormal(1).expand([3]).to_event(1))
    numpyro.sample("two_shares", dist.Dirichlet(jnp.ones(2)))
    numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    numpyro.sample("one_share", dist.Dirichlet(jnp.ones(1)))
    numpyro.sample("correlation", dist.LKJCholesky(2))
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    numpyro.sample("bias", dist.Normal(0, 1).expand([1]).to_event(1))
    numpyro.sample("flat", dist.ImproperUniform(dist.constraints.real, (), ()))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", dist.Normal(mean, sd), obs=y)


def test_scales_are_latent_numbers_with_a_bounded_support():
    sites = inspect_sites(model, {}, (jnp.zeros(4),), {})
    assert sites.scales == ("length", "share", "sd", "two_shares", "correlation")
    assert len(sites.latent) == 11


@pytest.mark.parametrize(("dense_mass", "num"), [(False, 6), ("auto", 12)])
def test_a_site_without_a_number_has_no_say(dense_mass, num):
    """
    The share of one group, in a model written for any number of them: scales and, where
    slow directions are looked for, all sites are compared.
    """
    kernel = PseudoLangevin(model, dense_mass=dense_mass)
    data = (jnp.zeros(4),), {}
    state = kernel.init(jax.random.key(0), 10, None, *data)
    assert state.z["one_share"].size == 0
    assert state.settling.mean.shape == (2, num)
    after = jax.eval_shape(lambda state: kernel.sample(state, *data), state)
    assert after.settling.mean.shape == (2, num)
    names = [*sorted(state.z)]
    numbers = settling.watched(state.potential_energy, state.z, names)
    assert numbers[1 + names.index("one_share")] == 0
    assert jnp.isfinite(numbers).all()
