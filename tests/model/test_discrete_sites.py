# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Discrete latent sites are summed out. Each model stands beside the same model
marginalized by hand: their potentials, gradients and losses of rows are equal up to
rounding.
"""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp
from numpyro.contrib.control_flow import scan
from numpyro.infer import MCMC, Predictive, init_to_uniform

from numpyro_pl import PseudoLangevin
from numpyro_pl.model.plates import PlateSizes
from numpyro_pl.model.potential import MinibatchPotential

CLASSES, RATERS = 3, 5
RNG = np.random.default_rng(0)
Y = jnp.asarray(RNG.normal(3 * RNG.integers(0, 3, 300)), jnp.float32)
RATINGS = jnp.asarray(RNG.integers(0, CLASSES, (RATERS, 200)))
SERIES = jnp.asarray(RNG.normal(size=(100, 6)), jnp.float32)


def mixture_sites():
    """Weights and locations of three normals."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    return weights, numpyro.sample("loc", dist.Normal(0, 5).expand([3]).to_event(1))


def mixture(y, batch=50):
    """A class for each row."""
    weights, loc = mixture_sites()
    with numpyro.plate("rows", y.shape[0], subsample_size=batch):
        yb = numpyro.subsample(y, event_dim=0)
        z = numpyro.sample("z", dist.Categorical(weights))
        numpyro.deterministic("mean", loc[z])
        numpyro.sample("y", dist.Normal(loc[z], 1.0), obs=yb)


def mixture_by_hand(y, batch=50):
    weights, loc = mixture_sites()
    with numpyro.plate("rows", y.shape[0], subsample_size=batch):
        yb = numpyro.subsample(y, event_dim=0)
        parts = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, 1.0))
        numpyro.sample("y", parts, obs=yb)


def ratings_sites():
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(CLASSES)))
    with numpyro.plate("classes", CLASSES), numpyro.plate("of", RATERS):
        prior = dist.Dirichlet(jnp.ones(CLASSES))
        return share, numpyro.sample("answer", prior)


def ratings(y, batch=40):
    """Raters who err: a class for each item, within it a plate of raters."""
    share, answer = ratings_sites()
    rater = jnp.arange(RATERS)[:, None]
    with numpyro.plate("items", y.shape[1], subsample_size=batch, dim=-1):
        yb = numpyro.subsample(y, event_dim=0)
        z = numpyro.sample("z", dist.Categorical(share))
        with numpyro.plate("raters", RATERS, dim=-2):
            numpyro.sample("y", dist.Categorical(answer[rater, z]), obs=yb)


def ratings_by_hand(y, batch=40):
    share, answer = ratings_sites()
    rater = jnp.arange(RATERS)[:, None, None]
    classes = jnp.arange(CLASSES)[:, None]
    with numpyro.plate("items", y.shape[1], subsample_size=batch, dim=-1):
        yb = numpyro.subsample(y, event_dim=0)
        each = jnp.log(answer)[rater, classes, yb[:, None]].sum(0)
        numpyro.factor("y", logsumexp(jnp.log(share)[:, None] + each, 0))


def hidden_sites():
    move = numpyro.sample("move", dist.Dirichlet(jnp.ones((2, 2))).to_event(1))
    return move, numpyro.sample("loc", dist.Normal(0, 2).expand([2]).to_event(1))


def hidden_markov(x, batch=20):
    """A series of hidden states for each row: 64 of them, never written out."""
    move, loc = hidden_sites()
    with numpyro.plate("rows", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        z = 0
        for t in range(x.shape[1]):
            z = numpyro.sample(f"z{t}", dist.Categorical(move[z]))
            numpyro.sample(f"x{t}", dist.Normal(loc[z], 1.0), obs=xb[:, t])


def hidden_markov_by_hand(x, batch=20):
    move, loc = hidden_sites()
    with numpyro.plate("rows", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        forward = jnp.log(move[0])
        for t in range(x.shape[1]):
            if t > 0:
                forward = logsumexp(forward[..., None] + jnp.log(move), -2)
            forward += dist.Normal(loc, 1.0).log_prob(xb[:, t, None])
        numpyro.factor("x", logsumexp(forward, -1))


def evaluated(model, data):
    """Potential of a minibatch, of all the data, their gradients, losses of rows."""
    potential = MinibatchPotential(model, PlateSizes.of(model, data))

    @jax.jit
    def values(key, data):
        run = (data,), {}
        z = potential.first_position(key, run, init_to_uniform())
        batch = potential.draw_indices(jax.random.key(2), 1)
        batch = jax.tree.map(lambda x: x[0], batch)
        on_batch = jax.value_and_grad(potential)(z, batch, *run)
        on_all = potential.full_value_and_grad(z, *run)
        return z, on_batch, on_all, potential.with_row_losses(z, batch, *run)[1]

    return values(jax.random.key(1), data)


@pytest.mark.parametrize(
    ("model", "by_hand", "data"),
    [
        (mixture, mixture_by_hand, Y),
        (ratings, ratings_by_hand, RATINGS),
        (hidden_markov, hidden_markov_by_hand, SERIES),
    ],
)
def test_potentials_equal_those_marginalized_by_hand(model, by_hand, data):
    """On a minibatch, on all the data, and for each row."""
    found, expected = evaluated(model, data), evaluated(by_hand, data)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5 * np.max(np.abs(y)))


def test_a_discrete_site_of_all_rows_is_summed_after_those_of_rows():
    """
    One for all rows, whose probability is the same for all its values, and one for each
    row; sites that depend on neither stay.
    """

    def model(y):
        shift = numpyro.sample("shift", dist.DiscreteUniform(0, 1))
        mean = numpyro.sample("mean", dist.Normal(0, 5))
        numpyro.sample("early", dist.Normal(mean, 2.0), obs=1.0)
        numpyro.deterministic("twice", 2 * mean)
        with numpyro.plate("rows", len(y)):
            z = numpyro.sample("z", dist.Categorical(jnp.array([0.2, 0.3, 0.5])))
            numpyro.deterministic("own", mean + z)
            numpyro.sample("y", dist.Normal(mean + z + shift, 1.0), obs=y)

    y = Y[:20]
    potential = MinibatchPotential(model, PlateSizes.of(model, y))
    z = {"mean": jnp.float32(0.3)}
    found = jax.jit(lambda z: potential(z, None, (y,), {}))(z)
    weights = jnp.log(jnp.array([0.2, 0.3, 0.5]))
    terms = []
    for shift in (0, 1):
        each = dist.Normal(0.3 + jnp.arange(3) + shift, 1.0).log_prob(y[:, None])
        terms.append(jnp.log(0.5) + logsumexp(weights + each, 1).sum())
    prior = dist.Normal(0, 5).log_prob(0.3) + dist.Normal(0.3, 2.0).log_prob(1.0)
    np.testing.assert_allclose(found, -logsumexp(jnp.stack(terms)) - prior, rtol=1e-5)
    constrained = jax.jit(potential.constrain_fn(((y,), {})))(z)
    assert constrained.keys() == {"mean", "twice"}


def test_draws_and_log_likelihoods_are_marginal():
    """ArviZ gets the log likelihood of each row over all classes."""
    mcmc = MCMC(
        PseudoLangevin(mixture, warn=False),
        num_warmup=20,
        num_samples=10,
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), Y)
    draws = mcmc.get_samples()
    assert draws.keys() == {"weights", "loc"}
    data = az.from_numpyro(mcmc)
    found = data.log_likelihood["z_marginal"].values[0]
    parts = dist.Normal(draws["loc"][:, None], 1.0).log_prob(Y[:, None])
    expected = logsumexp(jnp.log(draws["weights"])[:, None] + parts, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_missing_values_may_be_discrete():
    """Those that are missing have no part in the posterior."""
    there = np.arange(100) % 3 > 0
    assert there.sum() == 66

    def model(y, there):
        w = numpyro.sample("w", dist.Normal())
        with numpyro.plate("rows", len(y)):
            numpyro.sample("y", dist.Bernoulli(logits=w), obs=y, obs_mask=there)

    def without(y, there):
        w = numpyro.sample("w", dist.Normal())
        numpyro.sample("y", dist.Bernoulli(logits=w).expand([66]), obs=y[: there.sum()])

    y = np.zeros(100, int)
    slopes = []
    for fn in (model, without):
        potential = MinibatchPotential(fn, PlateSizes.of(fn, y, there))
        slope = jax.grad(lambda z, of: of(z, None, (y, there), {}))
        slopes.append(slope({"w": jnp.float32(0.3)}, potential)["w"])
    np.testing.assert_allclose(*slopes, rtol=1e-5)


def test_the_model_of_a_kernel_predicts_classes():
    """`Predictive` draws discrete sites where there is no data after them."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal())
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Bernoulli(logits=w * x), obs=y)

    draws = {"w": jnp.ones(7)}
    found = Predictive(PseudoLangevin(model).model, draws)(jax.random.key(0), Y)
    assert found["y"].shape == (7, 300)


def no_plate(y):
    numpyro.sample("mean", dist.Normal())
    z = numpyro.sample("z", dist.Bernoulli(0.5).expand([len(y)]))
    numpyro.sample("y", dist.Normal(z, 1.0).to_event(1), obs=y)


def outside(y):
    mean = numpyro.sample("mean", dist.Normal())
    with numpyro.plate("rows", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(mean + z, 1.0).to_event(1), obs=y)


def two_plates(y):
    mean = numpyro.sample("mean", dist.Normal())
    with numpyro.plate("columns", 10, dim=-2):
        w = numpyro.sample("w", dist.Bernoulli(0.5))
    with numpyro.plate("rows", 10, dim=-1):
        z = numpyro.sample("z", dist.Bernoulli(0.5))
    with numpyro.plate("columns", 10, dim=-2), numpyro.plate("rows", 10, dim=-1):
        numpyro.sample("y", dist.Normal(mean + z * w), obs=y[:100].reshape(10, 10))


def latent_below(y):
    z = numpyro.sample("z", dist.Bernoulli(0.5))
    mean = numpyro.sample("mean", dist.Normal(z, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([len(y)]).to_event(1), obs=y)


def too_many(y):
    mean = numpyro.sample("mean", dist.Normal())
    total = mean
    for i in range(11):
        total += numpyro.sample(f"z{i}", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(total, 1.0).expand([len(y)]).to_event(1), obs=y)


def no_data(y):
    w = numpyro.sample("w", dist.Normal())
    with numpyro.plate("rows", len(y), subsample_size=10):
        x = numpyro.subsample(y, event_dim=0)
        numpyro.sample("z", dist.Bernoulli(logits=w * x))


def scaled(y):
    mean = numpyro.sample("mean", dist.Normal())
    with numpyro.plate("rows", len(y)), numpyro.handlers.scale(scale=2.0):
        z = numpyro.sample("z", dist.Bernoulli(0.5))
        numpyro.sample("y", dist.Normal(mean + z, 1.0), obs=y)


def in_a_scan(y):
    mean = numpyro.sample("mean", dist.Normal())

    def step(z, y):
        z = numpyro.sample("z", dist.Bernoulli(0.2 + 0.6 * z))
        return z, numpyro.sample("y", dist.Normal(mean + z), obs=y)

    scan(step, 0, y)


def without_end(y):
    mean = numpyro.sample("mean", dist.Normal())
    z = numpyro.sample("z", dist.Poisson(3.0))
    numpyro.sample("y", dist.Normal(mean + z).expand([len(y)]).to_event(1), obs=y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (no_plate, r"'z' has shape \(300,\), of which plates account only in part"),
        (outside, "'y' is outside plate 'rows' and depends on .* 'z' within it"),
        (two_plates, "'y' depends on the discrete sites 'w' and 'z', each in a plate"),
        (latent_below, "latent site 'mean' depends on the discrete latent site 'z'"),
        (too_many, "depends on 11 discrete latent sites with 2,048 combinations"),
        (no_data, "nothing depends on the discrete latent site 'z'.* pass the data"),
        (scaled, "site 'y' is scaled by numpyro.handlers.scale"),
        (in_a_scan, "'z' and a scan or cond"),
        (without_end, "'z' is discrete and has no finite number of values"),
    ],
)
def test_what_cannot_be_summed_out_is_refused(model, message):
    """Before sampling, with the reason."""
    mcmc = MCMC(PseudoLangevin(model), num_warmup=10, num_samples=10)
    with pytest.raises(ValueError, match=message):
        mcmc.run(jax.random.key(0), Y)
