# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models that have a gradient and no other derivative: those with a `jax.custom_vjp`, such
as the solution of a differential equation.
"""

import logging
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import nn, random
from jax.experimental.ode import odeint
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin
from numpyro_pl.dynamics.friction import example_friction, slowed_gradient
from numpyro_pl.trees.derivatives import along, has_forward_mode, hvp

N, B = 400, 20
X = random.normal(random.key(0), (N, 3)) * jnp.array([1.0, 2.0, 0.5])
Y = (X @ jnp.array([1.0, -0.5, 0.0]) + random.logistic(random.key(1), (N,)) > 0) * 1.0


@jax.custom_vjp
def softplus(x):
    return nn.softplus(x)


def _slope(x, slope):
    """By a loop of unknown length, which has no derivative in reverse mode."""
    first = 0, slope * nn.sigmoid(x)
    last = jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, c[1]), first)
    return last[1:]


softplus.defvjp(lambda x: (nn.softplus(x), x), _slope)


def model(x, y, batch=B, softplus=softplus):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("data", len(y), subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.factor("likelihood", yb * (xb @ w) - softplus(xb @ w))


def losses(w, softplus):
    """Negative log likelihoods of some rows, times N / B."""
    return N / B * (softplus(X[:B] @ w) - Y[:B] * (X[:B] @ w))


def run(kernel, *args, num_warmup=60, num_samples=30, **kwargs):
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(random.key(0), *args, **kwargs)
    return mcmc


def test_which_functions_have_only_a_gradient():
    w = jnp.ones(3)
    assert has_forward_mode(partial(losses, softplus=nn.softplus), w)
    assert not has_forward_mode(partial(losses, softplus=softplus), w)
    with pytest.raises(ZeroDivisionError):
        has_forward_mode(lambda w: w / 0 if 1 / 0 else w, w)


def test_differences_are_the_derivatives():
    """The Hessian along a vector, of any length, within 1 in 1,000."""
    w = jnp.array([0.3, -0.2, 0.1])

    def energy(w, softplus):
        return jnp.sum(losses(w, softplus))

    for v in jnp.array([[1.0, -1, 1], [1e-3, 0, 2e-3], [0, 500, 0]]):
        expected = hvp(partial(energy, softplus=nn.softplus), w, v)
        found = along(jax.grad(partial(energy, softplus=softplus)), w, v)
        assert jnp.linalg.norm(found - expected) < 1e-3 * jnp.linalg.norm(expected)
    assert (along(jax.grad(partial(energy, softplus=softplus)), w, 0 * w) == 0).all()


def test_friction_from_differences():
    """
    The friction of a displacement of 0.1, as far as one goes in a step, is that from
    forward-mode derivatives, within 1 in 200.
    """
    w, u = jnp.array([0.3, -0.2, 0.1]), jnp.array([0.05, -0.1, 0.02])

    def parts(w, softplus):
        rows = losses(w, softplus)
        return jnp.sum(rows) + 0.5 * jnp.sum(w**2), rows

    expected = example_friction(partial(losses, softplus=nn.softplus), w, u, 1.0)
    found = example_friction(
        partial(losses, softplus=softplus), w, u, 1.0, forward=False
    )
    assert jnp.linalg.norm(found - expected) < 5e-3 * jnp.linalg.norm(expected)
    expected = slowed_gradient(partial(parts, softplus=nn.softplus), w, u, 1.0)
    found = slowed_gradient(partial(parts, softplus=softplus), w, u, 1.0, forward=False)
    plain = jax.grad(lambda w: parts(w, softplus)[0])(w)
    friction = jnp.linalg.norm(expected - plain)
    assert jnp.linalg.norm(found - expected) < 5e-3 * friction


@pytest.mark.parametrize(
    "dense_mass", [pytest.param(False, marks=pytest.mark.statistical), True]
)
def test_draws_are_those_of_the_model_with_derivatives(dense_mass, caplog):
    """
    The same keys give nearly the same draws: what differs is the error of differences.
    """
    make = partial(PseudoLangevin, control_variate=None, dense_mass=dense_mass)
    caplog.set_level(logging.INFO, logger="numpyro_pl")
    expected = run(make(partial(model, softplus=nn.softplus)), X, Y).get_samples()["w"]
    assert "forward-mode" not in caplog.text
    found = run(make(model), X, Y).get_samples()["w"]
    assert "no forward-mode derivatives" in caplog.text
    assert (np.abs(found - expected).max(0) < 0.01 * np.std(expected, 0)).all()


def test_a_potential_without_second_derivatives():
    """It is found out where curvature is needed, in the warmup."""

    def draws(softplus):
        def potential(w):
            return jnp.sum(losses(w, softplus)) + jnp.sum(w**2)

        kernel = PseudoLangevin(potential_fn=potential)
        return run(kernel, init_params=jnp.zeros((2, 3))).get_samples()

    expected, found = draws(nn.softplus), draws(softplus)
    assert (np.abs(found - expected).max(0) < 0.01 * np.std(expected, 0)).all()


@pytest.mark.parametrize("anchor", ["mean", {"w": np.zeros(3)}])
def test_an_anchor_needs_forward_mode(anchor):
    with pytest.raises(ValueError, match=r"control_variate=.* needs forward-mode"):
        run(PseudoLangevin(model, control_variate=anchor), X, Y)


def absorption(dose, y, batch=5):
    """A drug that is absorbed and eliminated, seen at four times."""
    rates = [numpyro.sample(name, dist.LogNormal(0, 1)) for name in ("into", "out")]
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))

    def rate(amount, t):
        return jnp.stack([-1.0, 1.0]) * rates[0] * amount[0] - jnp.stack(
            [0.0, rates[1] * amount[1]]
        )

    times = jnp.array([0.0, 0.5, 1.0, 2.0, 4.0])
    with numpyro.plate("patients", len(y), subsample_size=batch):
        doses = numpyro.subsample(dose, event_dim=0)
        yb = numpyro.subsample(y, event_dim=1)
        amounts = jax.vmap(
            lambda d: odeint(rate, jnp.stack([d, 0 * d]), times, rtol=1e-4, atol=1e-4)
        )(doses)[:, 1:, 1]
        fitted = jnp.log(jnp.maximum(amounts, 1e-6))
        numpyro.sample("y", dist.LogNormal(fitted, sigma).to_event(1), obs=yb)


@pytest.mark.statistical
def test_a_differential_equation():
    """Solved for each patient; default settings: white coordinates and no anchor."""
    dose, y = jnp.linspace(1, 3, 60), jnp.exp(random.normal(random.key(2), (60, 4)))
    mcmc = run(PseudoLangevin(absorption), dose, y, num_warmup=8, num_samples=1)
    frame = mcmc.last_state.frame
    assert (frame.share == 0).all()
    assert not np.allclose(frame.basis, np.eye(3))
    assert np.isfinite(mcmc.get_extra_fields()["potential_energy"]).all()
