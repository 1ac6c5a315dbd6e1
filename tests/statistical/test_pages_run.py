# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The code of the pages runs: all blocks of a page one after the other, with short runs
and a small network in place of the reader's own. The example of README and the one of
"Getting started", which is the same, have a test of their own.
"""

import inspect
import sys
from pathlib import Path

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray
from flax import linen as nn
from jax import random
from numpyro.contrib.module import random_flax_module
from numpyro.infer import MCMC, NUTS
from test_code_blocks import blocks

import numpyro_pl
from numpyro_pl import PseudoLangevin, datasets, landscape, optim, store
from numpyro_pl.diagnostics import accuracy

pytestmark = [pytest.mark.statistical, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
DRAWS = 8
"""What is left of the warmup and the draws that a page asks for."""

NOT_RUN = {
    "README.md": "has a test of its own",
    "getting_started.rst": "is the example of README",
    "minibatches.rst-0": "is a part of a model",
    "minibatches.rst-4": "changes JAX for all tests",
    "scaling.rst-2": "is a part of a model",
    "scaling.rst-3": "needs eight devices",
    "scaling.rst-4": "needs several processes",
    "temperatures.rst-1": "leaves arguments out",
}
ANEW = {"store.rst-1"}
"""Blocks that do not continue those before them on their page."""

SHORTER = {
    "num_steps=2000": "num_steps=50",
    "k=500": "k=20",
    "len(y), 1000": "len(y), 100",
    "[0.1, 0.3, 1.0, 3.0, 10.0]": "[0.3, 1.0]",
    "=300": "=8",
}
"""Other settings that would take long."""


def network(x, y=None):
    """The reader's model."""
    shapes = {"w1": (64, 5), "b1": (5,), "w2": (5, 10), "b2": (10,)}
    w = {
        name: numpyro.sample(name, dist.Normal(0, 0.3).expand(shape).to_event())
        for name, shape in shapes.items()
    }
    with numpyro.plate("data", x.shape[0], subsample_size=50):
        xb = numpyro.subsample(x, event_dim=1)
        yb = None if y is None else numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=forward(w, xb)), obs=yb)


def forward(values, x):
    return jax.nn.relu(x @ values["w1"] + values["b1"]) @ values["w2"] + values["b2"]


class Layers(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(4)(x)))


def flax_network(x, y):
    """The reader's model on the page on partitions."""
    net = random_flax_module("nn", Layers(), dist.Normal(0, 0.3), input_shape=(64,))
    with numpyro.plate("data", x.shape[0], subsample_size=50):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        numpyro.sample("y", dist.Categorical(logits=net(xb)), obs=yb)


OWN_MODELS = {"partitioned.rst": flax_network}

# A draw of the Flax network of `store.rst`.
DRAW = {
    "nn/layers_0.kernel": jnp.ones((64, 100)),
    "nn/layers_0.bias": jnp.ones(100),
    "nn/layers_2.kernel": jnp.ones((100, 10)),
    "nn/layers_2.bias": jnp.ones(10),
}


def names_before(page, mcmc=None, nuts=None):
    """What a reader has before the first line of a page."""
    data = datasets.digits()
    x, y = jnp.asarray(data.x_train[:200]), jnp.asarray(data.y_train[:200])
    x_test, y_test = jnp.asarray(data.x_test[:40]), jnp.asarray(data.y_test[:40])
    modules = {"az": az, "jax": jax, "jnp": jnp, "np": np, "random": random}
    modules |= {"numpyro": numpyro, "dist": dist, "xarray": xarray}
    public = {name: getattr(numpyro_pl, name) for name in numpyro_pl.__all__}
    return (
        modules
        | public
        | {
            "MCMC": MCMC,
            "NUTS": NUTS,
            "accuracy": accuracy,
            "draw": DRAW,
            "fold_in_stream": optim.fold_in_stream,
            "forward": forward,
            "kernel": PseudoLangevin(network),
            "key": random.key(0),
            "keys": random.split(random.key(0), 8),
            "landscape": landscape,
            "mcmc": mcmc,
            "model": OWN_MODELS.get(page, network),
            "nuts": nuts,
            "params": {"w": jnp.ones(3)},
            "predict": store.predict,
            "rng_key": random.key(1),
            "x": x,
            "x_test": x_test,
            "x_train": x,
            "y": y,
            "y_test": y_test,
            "y_train": y,
            # Of the K-spin page.
            "N": len(x),
            "decay": 1e-4,
            "num_weights": 385,
            "t": 1e-5,
        }
    )


PAGES = sorted({where.rsplit("-", 1)[0] for where, _ in blocks()} - NOT_RUN.keys())


@pytest.fixture(scope="module")
def short_runs():
    """`MCMC` with few draws, and without a progress bar."""
    patch = pytest.MonkeyPatch()
    original = MCMC.__init__

    def shorter(self, *args, **kwargs):
        given = inspect.signature(original).bind(self, *args, **kwargs).arguments
        given = dict(given) | {"progress_bar": False}
        for name in ("num_warmup", "num_samples"):
            given[name] = min(given[name], DRAWS)
        original(given.pop("self"), given.pop("sampler"), **given)

    patch.setattr(MCMC, "__init__", shorter)
    patch.setattr(sys, "path", [*sys.path, str(ROOT / "examples")])
    yield
    patch.undo()


@pytest.fixture(scope="module")
def runs(short_runs):
    """A run of each kernel, of two chains."""
    names = names_before("")
    found = []
    own = PseudoLangevin(network)
    for kernel in (own, NUTS(own.model, max_tree_depth=3)):
        mcmc = MCMC(
            kernel,
            num_warmup=DRAWS,
            num_samples=DRAWS,
            num_chains=2,
            chain_method="vectorized",
        )
        mcmc.run(random.key(0), names["x"], names["y"])
        found.append(mcmc)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run(page, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    names = names_before(page, *runs)
    np.save("x.npy", np.asarray(names["x"]))
    for where, code in blocks():
        if where.rsplit("-", 1)[0] != page or where in NOT_RUN:
            continue
        if where in ANEW:
            names = names_before(page, *runs)
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        exec(compile(code, where, "exec"), names)


def test_every_exception_is_a_block():
    known = {where for where, _ in blocks()}
    known |= {where.rsplit("-", 1)[0] for where in known}
    assert NOT_RUN.keys() | ANEW | OWN_MODELS.keys() <= known
