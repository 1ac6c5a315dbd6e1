# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The loss of each row of a minibatch: models whose plates look different."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_pl import PseudoLangevin
from numpyro_pl.kernels.binding import bind_model
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential

ROWS, BATCH = 12, 4
Y = jnp.linspace(-1.0, 2.0, ROWS)
INDICES = {"data": jnp.array([0, 3, 3, 11])}
SCALE = ROWS / BATCH


def one_site(y):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("data", ROWS, subsample_size=BATCH) as rows:
        numpyro.sample("y", dist.Normal(w, 1.0), obs=y[rows])


def two_sites_and_a_factor(y):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("data", ROWS, subsample_size=BATCH) as rows:
        numpyro.sample("y", dist.Normal(w, 1.0), obs=y[rows])
        numpyro.sample("again", dist.Normal(2 * w, 3.0), obs=y[rows])
        numpyro.factor("penalty", -(w**2) * y[rows])


def event_dimensions(y):
    w = numpyro.sample("w", dist.Normal(0, 1))
    both = jnp.stack([y, 2 * y], -1)
    with numpyro.plate("data", ROWS, subsample_size=BATCH) as rows:
        mean = jnp.stack([w, w])
        numpyro.sample("y", dist.Normal(mean, 1.0).to_event(1), obs=both[rows])


def outer_plate(y):
    """The subsampled plate is not the last dimension."""
    w = numpyro.sample("w", dist.Normal(0, 1))
    both = jnp.stack([y, 2 * y], -1)
    with numpyro.plate("data", ROWS, subsample_size=BATCH, dim=-2) as rows:
        with numpyro.plate("columns", 2, dim=-1):
            numpyro.sample("y", dist.Normal(w, 1.0), obs=both[rows])


def normal(y, mean, sd=1.0):
    return 0.5 * ((y - mean) / sd) ** 2 + np.log(sd) + 0.5 * np.log(2 * np.pi)


W = 0.7
y = np.asarray(Y, float)[[0, 3, 3, 11]]
EXPECTED = {
    one_site: normal(y, W),
    two_sites_and_a_factor: normal(y, W) + normal(y, 2 * W, 3.0) + W**2 * y,
    event_dimensions: normal(y, W) + normal(2 * y, W),
    outer_plate: normal(y, W) + normal(2 * y, W),
}


@pytest.mark.parametrize("model", EXPECTED, ids=lambda m: m.__name__)
def test_row_losses(model):
    potential = MinibatchPotential(model, PlateSizes.of(model, Y))
    position = {"w": jnp.asarray(W)}
    losses = potential.with_row_losses(position, INDICES, (Y,), {})[1]
    np.testing.assert_allclose(losses, SCALE * EXPECTED[model], rtol=1e-5)
    # With the prior they are the potential of the minibatch.
    whole = potential(position, INDICES, (Y,), {})
    np.testing.assert_allclose(losses.sum() + normal(W, 0.0), whole, rtol=1e-5)


def beside(y):
    """Two subsampled plates, the names in the other order."""
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("second", ROWS, subsample_size=BATCH) as rows:
        numpyro.sample("y", dist.Normal(w, 1.0), obs=y[rows])
    with numpyro.plate("first", ROWS // 2, subsample_size=2) as rows:
        numpyro.sample("z", dist.Normal(2 * w, 3.0), obs=y[: ROWS // 2][rows])


def test_row_losses_of_plates_beside_each_other():
    """One after the other by name, each with its own factor."""
    potential = MinibatchPotential(beside, PlateSizes.of(beside, Y))
    indices = {"second": INDICES["data"], "first": jnp.array([5, 1])}
    losses = potential.with_row_losses({"w": jnp.asarray(W)}, indices, (Y,), {})[1]
    first = ROWS / 2 / 2 * normal(np.asarray(Y, float)[[5, 1]], 2 * W, 3.0)
    expected = np.concatenate([first, SCALE * normal(y, W)])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def inside(y):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("rows", ROWS, subsample_size=BATCH, dim=-1) as rows:
        with numpyro.plate("columns", 8, subsample_size=2, dim=-2) as columns:
            obs = y[rows] + jnp.arange(8.0)[columns][:, None]
            numpyro.sample("y", dist.Normal(w, 1.0), obs=obs)


@pytest.mark.parametrize(
    ("model", "possible"), [(one_site, True), (beside, True), (inside, False)]
)
def test_plates_inside_each_other_have_no_friction(model, possible, caplog):
    """Their noise is not a sum over the rows of each; the log says so."""
    binding = bind_model(model, ((Y,), {}))
    assert binding.has_friction is possible
    with caplog.at_level("INFO", "numpyro_pl"):
        PseudoLangevin(model)._dynamics(binding, 1)
    assert ("no friction from the examples" in caplog.text) is not possible
