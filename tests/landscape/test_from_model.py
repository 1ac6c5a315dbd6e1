# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro import handlers
from numpyro.infer.util import potential_energy
from scipy.stats import norm

from numpyro_pl.landscape import (
    Solution,
    delta1,
    delta2_subspace,
    from_model,
    top_eigenspace,
)

N, D = 30, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = (X @ np.ones(D) + RNG.normal(size=N)).astype(np.float32)
PARAMS = {"w": jnp.array([0.5, -1.0, 2.0]), "sigma": jnp.array(0.3)}


def regression(X, y=None, subsample_size=None, num_rows=None):
    w = numpyro.sample("w", dist.Normal(jnp.zeros(D), 2.0).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    num_rows = X.shape[0] if num_rows is None else num_rows
    with numpyro.plate("data", num_rows, subsample_size=subsample_size):
        if subsample_size is not None:
            X = numpyro.subsample(X, event_dim=1)
            y = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Normal(X @ w, sigma), obs=y)


def exact_losses():
    w, sigma = np.asarray(PARAMS["w"]), np.exp(0.3)
    return -norm(X @ w, sigma).logpdf(Y)


@pytest.mark.parametrize("subsample_size", [None, 5])
def test_per_example_loss_is_the_negative_log_likelihood(subsample_size):
    loss, data = from_model(regression, X, Y, subsample_size=subsample_size)
    assert loss(PARAMS, data) == pytest.approx(exact_losses(), rel=1e-5)
    rows = np.array([4, 0, 27])
    part = jax.tree.map(lambda x: x[rows], data)
    assert loss(PARAMS, part) == pytest.approx(exact_losses()[rows], rel=1e-5)


@pytest.mark.parametrize("subsample_size", [None, 5])
def test_losses_with_prior_sum_to_the_potential(subsample_size):
    loss, data = from_model(
        regression, X, Y, subsample_size=subsample_size, include_prior=True
    )
    potential = potential_energy(regression, (X, Y), {}, PARAMS)
    assert loss(PARAMS, data).sum() == pytest.approx(float(potential), rel=1e-5)
    rows = jax.tree.map(lambda x: x[:2], data)
    assert loss(PARAMS, rows) == pytest.approx(
        np.asarray(loss(PARAMS, data)[:2]), rel=1e-5
    )


def test_criteria_of_a_model():
    k = 20
    loss, data = from_model(regression, X, Y, subsample_size=5)
    exact = exact_losses()
    expected = abs(exact[: k + 1].mean() - exact[:k].mean())
    solution = Solution(loss, PARAMS, data)
    assert delta1(solution, k).value == pytest.approx(expected, rel=1e-4)
    space = top_eigenspace(solution, k, dim=2, rng_key=random.key(0))

    def potential(flat):
        params = {"sigma": flat[0], "w": flat[1:]}
        return loss(params, jax.tree.map(lambda x: x[:k], data)).mean()

    hessian = jax.jit(jax.hessian(potential))(jnp.append(PARAMS["sigma"], PARAMS["w"]))
    expected = np.linalg.eigvalsh(np.asarray(hessian))[::-1][:2]
    assert space.eigenvalues == pytest.approx(expected, rel=1e-4)
    result = delta2_subspace(
        solution, k, sigma=1e-3, eigenspace=space, rng_key=random.key(1)
    )
    assert result.value > 0


@pytest.mark.parametrize("subsample_size", [None, 5])
def test_constrain_and_back(subsample_size):
    loss, data = from_model(regression, X, Y, subsample_size=subsample_size)
    values = loss.constrain(PARAMS, data)
    assert values["sigma"] == pytest.approx(np.exp(0.3))
    draws = jax.tree.map(lambda x: jnp.stack([x, x]), values)
    back = jax.vmap(loss.unconstrain, (0, None))(draws, data)
    assert back["sigma"] == pytest.approx(np.full(2, 0.3), rel=1e-5)
    assert set(back) == {"w", "sigma"}


def test_several_outputs_scales_masks_and_other_arguments():
    Y2 = np.stack([Y, -Y], 1)
    keep = np.arange(N) % 3 > 0

    def model(prior_scale, X, y):
        w = numpyro.sample("w", dist.Normal(jnp.zeros((D, 2)), prior_scale).to_event(2))
        with numpyro.plate("outputs", 2, dim=-1), numpyro.plate("data", N, 7, dim=-2):
            x = numpyro.subsample(X, event_dim=1)
            kept = numpyro.subsample(jnp.asarray(keep)[:, None], event_dim=0)
            rows = numpyro.subsample(y, event_dim=0)
            with handlers.scale(scale=0.5), handlers.mask(mask=kept):
                numpyro.sample("y", dist.Normal(x[..., 0, :] @ w, 1.0), obs=rows)

    loss, data = from_model(model, np.full((D, 2), 2.0), X[:, None], Y2)
    w = jnp.asarray(RNG.normal(size=(D, 2)))
    expected = -0.5 * norm(X @ np.asarray(w), 1).logpdf(Y2).sum(1) * keep
    assert loss({"w": w}, data) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_network_module():
    pytest.importorskip("flax")
    from flax import linen
    from numpyro.contrib.module import random_flax_module

    def model(X, y):
        net = random_flax_module(
            "nn", linen.Dense(1), prior=dist.Normal(0, 1), input_shape=(1, D)
        )
        with numpyro.plate("data", X.shape[0]):
            numpyro.sample("y", dist.Normal(net(X)[:, 0], 1.0), obs=y)

    loss, data = from_model(model, X, Y)
    params = {"nn/kernel": jnp.ones((D, 1)), "nn/bias": jnp.zeros(1)}
    expected = -norm(X @ np.ones(D), 1).logpdf(Y)
    assert loss(params, data) == pytest.approx(expected, rel=1e-5)


def test_bad_models():
    def local(X, y):
        with numpyro.plate("data", N):
            z = numpyro.sample("z", dist.Normal(0, 1))
            numpyro.sample("y", dist.Normal(z, 1), obs=y)

    def outside(X, y, name="data"):
        w = numpyro.sample("w", dist.Normal(0, 1))
        numpyro.sample("total", dist.Normal(w, 1), obs=jnp.sum(y))
        with numpyro.plate(name, N, 5):
            numpyro.sample("y", dist.Normal(w, 1), obs=numpyro.subsample(y, 0))

    def no_plate(X, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(w, 1), obs=y)

    def two(X, y):
        w = numpyro.sample("w", dist.Normal(0, 1))
        for name in "ab":
            with numpyro.plate(name, N, 5):
                numpyro.sample(f"y{name}", dist.Normal(w, 1), obs=y[:5])

    for model, message in [
        (local, r"latent sites \['z'\] lie in the plate 'data'"),
        (outside, r"observed sites \['total'\] lie outside"),
        (no_plate, "no single plate"),
        (two, "subsamples 2 plates, a, b"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_model(model, X, Y)
    with pytest.raises(ValueError, match="no observed site lies in the plate"):
        from_model(regression, X, None, subsample_size=5)
    with pytest.raises(ValueError, match="does not follow the length"):
        from_model(regression, X, Y, num_rows=N)
    loss, data = from_model(outside, X, Y, include_prior=True)
    prior = -norm(0, 1).logpdf(0.7) - norm(0.7, 1).logpdf(Y.sum())
    rows = -norm(0.7, 1).logpdf(Y)
    assert loss({"w": jnp.array(0.7)}, data) == pytest.approx(
        rows + prior / N, rel=1e-4
    )
