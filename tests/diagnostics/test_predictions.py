# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_pl.diagnostics import predictive_probabilities
from numpyro_pl.diagnostics.predictions import _map_draws


def classify(params, x):
    return jax.nn.softmax(jnp.tanh(x @ params["w"]) + params["b"], axis=-1)


@pytest.fixture
def samples():
    rng = np.random.default_rng(2)
    return {"w": rng.normal(size=(2, 7, 3, 4)), "b": rng.normal(size=(2, 7, 4))}


X = np.random.default_rng(3).normal(size=(5, 3))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 14, 100])
def test_predictions_at_every_draw(samples, batch_size):
    out = predictive_probabilities(
        classify, samples, X, batch_ndims=2, batch_size=batch_size
    )
    assert out.shape == (2, 7, 5, 4)
    for chain, draw in np.ndindex(2, 7):
        one = classify({k: v[chain, draw] for k, v in samples.items()}, X)
        np.testing.assert_allclose(out[chain, draw], one, rtol=1e-5)
    mean = predictive_probabilities(
        classify, samples, X, batch_ndims=2, batch_size=batch_size, average=True
    )
    np.testing.assert_allclose(mean, out.mean((0, 1)), rtol=1e-5)
    flat = {k: v.reshape(14, *v.shape[2:]) for k, v in samples.items()}
    np.testing.assert_array_equal(
        predictive_probabilities(classify, flat, X, batch_size=batch_size),
        out.reshape(14, 5, 4),
    )


def test_second_call_compiles_nothing(samples):
    traces = []

    def fn(params, x):
        traces.append(None)
        return classify(params, x)

    for scale in (1.0, 2.0):
        predictive_probabilities(fn, samples, scale * X, batch_ndims=2, batch_size=7)
    assert len(traces) <= 1


def test_memory_follows_the_batch():
    # 1,000 draws of (2000, 4) are 32 MB in single precision; a batch of 10 is 0.32 MB.
    draws = {"w": jnp.zeros((1000, 3, 4)), "b": jnp.zeros((1000, 4))}
    x = jnp.zeros((2000, 3))
    compiled = _map_draws.lower(classify, draws, x, 10, True).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4e6
    compiled = _map_draws.lower(classify, draws, x, 500, False).compile()
    assert compiled.memory_analysis().temp_size_in_bytes > 12e6
    compiled = _map_draws.lower(classify, draws, x, 10, False).compile()
    assert compiled.memory_analysis().output_size_in_bytes >= 32e6
    assert compiled.memory_analysis().temp_size_in_bytes < 4e6


class Unhashable:
    __hash__ = None

    def __call__(self, params, x):
        return classify(params, x)


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "match"),
    [
        ({"b": np.zeros((2, 6, 4))}, {"batch_ndims": 2}, ValueError, "share their"),
        ({"c": np.zeros(2)}, {"batch_ndims": 2}, ValueError, r"'c'.*\(2,\)"),
        ({}, {"batch_ndims": 0}, ValueError, "batch_ndims"),
        ({}, {"batch_size": 0}, ValueError, "batch_size"),
        ({}, {"fn": Unhashable()}, TypeError, "lambda params, x"),
        ({}, {"samples": {}}, ValueError, "no arrays"),
        ({}, {"samples": {"w": np.zeros((0, 3))}}, ValueError, "no draws"),
    ],
)
def test_predictive_probabilities_explains_bad_input(
    samples, change, kwargs, error, match
):
    kwargs = {"fn": classify, "samples": {**samples, **change}, "x": X, **kwargs}
    with pytest.raises(error, match=match):
        predictive_probabilities(**kwargs)
