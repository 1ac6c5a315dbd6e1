# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Draws from rows that are split over devices, beside the exact posterior."""

from functools import partial

import jax
import numpy as np
import pytest
from conjugate_regression import PLAIN, data, exact_posterior, model
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin

CHAINS, DRAWS = 32, 200


@pytest.mark.devices
@pytest.mark.statistical
@pytest.mark.parametrize("chain_devices", [1, 2])
def test_draws_of_sorted_rows_are_exact(chain_devices):
    """
    Means and variances of three coefficients within 3.5 standard errors of 32
    independent chains: a false alarm in 1 of 250 keys, and the key is fixed. Friction
    from the examples balances the noise, so that its strata count.
    """
    x, y = (np.asarray(a) for a in data(2_000, 3, 0.5))
    order = np.argsort(y)
    mesh = jax.make_mesh(
        (chain_devices, jax.device_count() // chain_devices),
        ("chains", "data"),
        axis_types=(AxisType.Auto,) * 2,
    )
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    mcmc = MCMC(
        PseudoLangevin(partial(model, batch=40), num_steps=20, **PLAIN),
        num_warmup=100,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    split = jax.device_put((x[order], y[order]), sharding)
    mcmc.run(jax.random.key(0), *split)
    mean, sd = exact_posterior(x, y)
    z = (np.asarray(mcmc.get_samples(group_by_chain=True)["w"]) - mean) / sd
    for of_chain, exact in ((z.mean(1), 0.0), ((z**2).mean(1), 1.0)):
        error = of_chain.std(0, ddof=1) / CHAINS**0.5
        print(of_chain.mean(0), error)
        assert (error < 0.1).all()
        assert (np.abs(of_chain.mean(0) - exact) < 3.5 * error).all()
