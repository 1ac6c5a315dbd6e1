"""Streamed predictions against `Predictive` on everything at once."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Predictive

from numpyro_pl import predict
from numpyro_pl.model.full_data import FullDataModel
from numpyro_pl.store.draws import DrawBlocks

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (103, 3))
DRAWS = {
    "w": jax.random.normal(jax.random.key(2), (50, 3, 4)),
    "b": jax.random.normal(jax.random.key(3), (50, 4)),
}


def network(x, y=None, subsample_size=20, constant=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3, 4]).to_event(2))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([4]).to_event(1))
    numpyro.deterministic("norm", jnp.sum(w**2))
    with numpyro.plate("data", constant or x.shape[0], subsample_size=subsample_size):
        xb = x if subsample_size is None else numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        f = numpyro.deterministic("f", xb @ w + b)
        numpyro.sample("y", dist.Categorical(logits=f), obs=yb)


@pytest.fixture(scope="module")
def reference():
    return Predictive(FullDataModel(network), DRAWS)(KEY, X)


@pytest.fixture(scope="module")
def streamed():
    """Neither the rows nor the draws can be divided by their batches."""
    return predict(
        network,
        DRAWS,
        X,
        rng_key=KEY,
        batch_size=25,
        draws_batch=8,
        quantiles=(0.1, 0.5),
    )


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_deterministic_sites_are_those_of_predictive(reference, streamed):
    assert set(streamed) == {"f", "norm", "y"}
    for name in ("f", "norm"):
        draws = np.asarray(reference[name], float)
        close(streamed[name].mean, draws.mean(0))
        close(streamed[name].sd, draws.std(0))
        close(streamed[name].quantiles, np.quantile(draws, (0.1, 0.5), axis=0))
    assert streamed["f"].quantiles.shape == (2, 103, 4)
    assert streamed["f"].probabilities is None


def test_class_probabilities_are_exact(reference, streamed):
    expected = np.asarray(jax.nn.softmax(reference["f"], -1)).mean(0)
    close(streamed["y"].probabilities, expected)


def test_random_sites_have_the_distribution_of_predictive(reference, streamed):
    """
    The mean of 50 labels at each of 103 rows. The mean square of its standardized error
    is 1, with a standard error of 0.14: five of them either way.
    """
    p, label = np.asarray(jax.nn.softmax(reference["f"], -1)), np.arange(4)
    mean = p @ label
    variance = (p @ label**2 - mean**2).mean(0) / 50
    squares = (streamed["y"].mean - mean.mean(0)) ** 2 / variance
    print("mean square of standardized errors:", np.mean(squares))
    assert 0.3 < np.mean(squares) < 1.7


def test_rows_without_subsampling_and_all_at_once(streamed):
    for settings in ({"batch_size": 25}, {"batch_size": None}):
        found = predict(
            network, DRAWS, X, sites="f", rng_key=KEY, subsample_size=None, **settings
        )
        assert set(found) == {"f"}
        close(found["f"].mean, streamed["f"].mean)
        close(found["f"].sd, streamed["f"].sd)


def test_fewer_rows_than_a_minibatch(streamed):
    found = predict(network, DRAWS, X[:7], rng_key=KEY)
    close(found["f"].mean, streamed["f"].mean[:7])


def test_blocks_hold_each_draw_once():
    posterior = {"w": np.arange(10.0)}
    seen = []
    for index, values in DrawBlocks(posterior).blocks(4, ["w"]):
        assert len(index) == len(values["w"]) == 4
        seen += values["w"][index >= 0].tolist()
    assert seen == list(range(10))


def constant_rows(x):
    network(x, constant=103, subsample_size=None)


def mean_of_rows(x):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([3, 4]).to_event(2))
    with numpyro.plate("data", x.shape[0], subsample_size=20):
        xb = numpyro.subsample(x, event_dim=1)
        numpyro.deterministic("mean", jnp.mean(xb @ w))


@pytest.mark.parametrize(
    ("model", "posterior", "settings", "message"),
    [
        (network, DRAWS, {"rng_key": None}, "site 'y' is random: pass rng_key"),
        (network, {"w": DRAWS["w"]}, {}, "no draws of site 'b', which would be drawn"),
        (network, DRAWS, {"sites": ["z"]}, "has no site 'z'. Its sites are 'w', 'b'"),
        (network, DRAWS, {"quantiles": (2,)}, "quantiles must be between 0 and 1"),
        (network, DRAWS, {"batch_size": 0}, "batch_size must be"),
        (network, {"w": 1, "b": [2]}, {}, "Pass|same number of draws"),
        (network, {**DRAWS, "b": DRAWS["b"][:3]}, {}, "the same number of draws"),
        (
            network,
            {**DRAWS, "b": DRAWS["w"]},
            {},
            "cannot be run with these draws.*'b' .3, 4.",
        ),
        (network, {**DRAWS, "b": DRAWS["b"][:, :1]}, {}, "draws of 'b' have shape"),
        (constant_rows, DRAWS, {"batch_size": 50}, "cannot be run on 50 of its 103"),
        (mean_of_rows, DRAWS, {"batch_size": 50}, "depends on all rows together"),
        (network, "nowhere", {}, "there is no store of sample_to_store at 'nowhere'"),
    ],
)
def test_mistakes(model, posterior, settings, message):
    settings = {"rng_key": KEY, **settings}
    with pytest.raises(ValueError, match=message):
        predict(model, posterior, X, **settings)


def test_an_observed_site_is_not_predicted():
    def regression(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("data", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1.0), obs=y)

    draws = {"w": np.ones(4)}
    with pytest.raises(ValueError, match="Pass None in place of the data"):
        predict(regression, draws, X[:, 0], X[:, 0], rng_key=KEY)
    with pytest.raises(TypeError, match="the posterior is a list"):
        predict(regression, [draws], X[:, 0])
