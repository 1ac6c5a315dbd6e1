# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Chains and rows along two axes of one mesh of devices."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import SGLD
from numpyro_pl.model.sharding import Shards, shards_of

N, CHAINS = 1200, 6
DEVICES = jax.device_count()

model = partial(linear_model, batch=40)


def placed(kind=AxisType.Auto, chains=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3)).astype(np.float32)
    y = (x @ [1.0, 0.0, -1.0] + rng.normal(size=N)).astype(np.float32)
    devices = jax.devices()[: chains * (DEVICES // 2)]
    mesh = jax.make_mesh(
        (chains, DEVICES // 2),
        ("chains", "data"),
        axis_types=(AxisType.Auto, kind),
        devices=devices,
    )
    return jax.device_put((x, y), NamedSharding(mesh, P("data")))


@pytest.mark.devices
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_a_device_computes_its_own_chains(kind):
    """The program of one device: no array of all chains in it, and no rows gathered."""
    kernel = SGLD(model, num_steps=5, step_size=1e-3, warn=False)
    data = placed(kind)
    keys = jax.random.split(jax.random.key(0), CHAINS)
    state = kernel.init(keys, 4, None, data, {})
    where = NamedSharding(data[0].sharding.mesh, P("chains"))
    # As a draw before has left them.
    state = jax.device_put(state._replace(carried=()), where)
    step = jax.jit(lambda state, *data: kernel.sample(state, data, {}))
    program = step.lower(state, *data).compile()
    text = program.as_text()
    assert f"f32[{CHAINS // 2}," in text
    assert not re.search(rf"\w+\[{CHAINS}[,\]]", text)
    assert not re.search("all-gather|all-to-all", text)
    assert program(state, *data).z["w"].sharding.spec == P("chains")


@pytest.mark.devices
def test_draws_are_those_of_chains_on_every_device():
    """By the warmup's decisions, too, which look at all chains."""

    def draws(data):
        mcmc = MCMC(
            SGLD(model, num_steps=5, step_size=1e-3),
            num_warmup=4,
            num_samples=3,
            num_chains=CHAINS,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(jax.random.key(0), *data)
        found = mcmc.get_samples(group_by_chain=True)["w"]
        return found.sharding, np.asarray(found)

    sharding, found = draws(placed())
    assert "chains" in str(sharding.spec)
    np.testing.assert_allclose(found, draws(placed(chains=1))[1], rtol=1e-4)


@pytest.mark.devices
def test_a_number_of_chains_that_the_devices_do_not_divide():
    shards = shards_of((placed(), {}))
    assert shards.free == ("chains",)
    assert shards.spread(jnp.zeros((6, 2)), 6).sharding.spec == P("chains")
    left = jnp.zeros((5, 2))
    assert shards.spread(left, 5) is left


def test_axes_for_chains_are_automatic():
    mesh = jax.make_mesh(
        (1, 1), ("chains", "data"), axis_types=(AxisType.Explicit,) * 2
    )
    x = jax.device_put(np.ones((8, 3)), NamedSharding(mesh, P("data")))
    with pytest.raises(ValueError, match=r"\('chains',\) .* are not automatic"):
        shards_of(((x,), {}))
    alone = Shards(jax.make_mesh((1,), ("data",)), "data", (0,))
    assert alone.free == ()
