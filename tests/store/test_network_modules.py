"""Networks of Flax and Equinox: a function of them kept, and predicted."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.module import (
    random_eqx_module,
    random_flax_module,
    random_nnx_module,
)
from numpyro.infer import Predictive

from numpyro_pl import PseudoLangevin, predict

PRIOR = dist.Normal(0, 1)
X = np.linspace(-1.0, 1.0, 180, dtype=np.float32).reshape(60, 3)
Y = np.sin(X.sum(1))


def linen():
    from flax import linen as nn

    module = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(1)])

    def network():
        return random_flax_module("nn", module, PRIOR, input_shape=(3,))

    def apply(draw, x):
        """The module's own apply: its parameters are a dict of dicts."""
        params = {}
        for site, value in draw.items():
            layer, _, name = site.removeprefix("nn/").rpartition(".")
            params.setdefault(layer, {})[name] = value
        return module.apply({"params": params}, x)

    return network, apply


def nnx():
    from flax import nnx

    rngs = nnx.Rngs(0)

    class Network(nnx.Module):
        def __init__(self):
            self.l1 = nnx.Linear(3, 4, rngs=rngs)
            self.l2 = nnx.Linear(4, 1, rngs=rngs)

        def __call__(self, x):
            return self.l2(jnp.tanh(self.l1(x)))

    module = Network()

    def network():
        return random_nnx_module("nn", module, PRIOR)

    def apply(draw, x):
        graph, state = nnx.split(module)
        params = nnx.to_pure_dict(state)
        for site, value in draw.items():
            layer, _, name = site.removeprefix("nn/").rpartition(".")
            params[layer][name] = value
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(x)

    return network, apply


def eqx():
    import equinox as eqx

    module = eqx.nn.MLP(3, 1, 4, 1, key=jax.random.key(0))

    def network():
        return jax.vmap(random_eqx_module("nn", module, PRIOR))

    def apply(draw, x):
        filled = module
        for i, layer in enumerate(module.layers):
            for name in ("weight", "bias"):
                value = draw[f"nn/layers[{i}].{name}"]
                assert value.shape == getattr(layer, name).shape
                filled = eqx.tree_at(
                    lambda m, i=i, name=name: getattr(m.layers[i], name), filled, value
                )
        return jax.vmap(filled)(x)

    return network, apply


@pytest.mark.parametrize("library", [linen, nnx, eqx])
def test_kept_and_predicted(library):
    network, apply = library()

    def model(x, y=None):
        net = network()
        with numpyro.plate("data", x.shape[0], subsample_size=20):
            xb = numpyro.subsample(x, event_dim=1)
            yb = None if y is None else numpyro.subsample(y, event_dim=0)
            mean = numpyro.deterministic("mean", net(xb)[..., 0])
            numpyro.sample("y", dist.Normal(mean, 0.1), obs=yb)

    def kept(draw):
        """As in docs/store.rst: the network as the model builds it."""
        filled = handlers.substitute(handlers.seed(network, 0), draw)()
        return {"f": filled(X)[..., 0], **draw}

    # Draws of the prior: tests/kernels/test_pseudo_langevin.py samples such networks.
    prior = Predictive(model, num_samples=8)(jax.random.key(0), X)
    draws = {name: x for name, x in prior.items() if name.startswith("nn/")}
    assert len(draws) == 4
    kernel = PseudoLangevin(model, collect=kept)
    state = jax.eval_shape(
        lambda key: kernel.init(key, 5, None, (X, Y), {}), jax.random.key(0)
    )
    assert set(state.kept) == {"f", *draws}
    assert state.kept["f"].shape == (60,)
    values = np.stack(
        [kept({n: x[i] for n, x in draws.items()})["f"] for i in range(8)]
    )
    one = {name: x[-1] for name, x in draws.items()}
    np.testing.assert_allclose(apply(one, X)[:, 0], values[-1], rtol=1e-4, atol=1e-5)
    found = predict(model, draws, X, rng_key=jax.random.key(1), batch_size=25)
    np.testing.assert_allclose(found["mean"].mean, values.mean(0), rtol=1e-4, atol=1e-5)
    assert found["y"].sd.shape == (60,)
