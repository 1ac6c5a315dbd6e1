"""How many arrays of the size of the parameters a run of a large model holds."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_pl import PseudoLangevin

WIDTHS = [(100, 600), (600, 500), (500, 10)]


def network(x, y):
    weights = [
        numpyro.sample(f"w{i}", dist.Normal(0, a**-0.5).expand([a, b]).to_event())
        for i, (a, b) in enumerate(WIDTHS)
    ]
    with numpyro.plate("data", x.shape[0], subsample_size=32):
        h = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        for w in weights:
            h = jax.nn.relu(h @ w)
        numpyro.sample("y", dist.Categorical(logits=h), obs=yb)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="another compiler")
def test_a_draw_holds_less_than_eight_times_the_parameters():
    """
    State, temporaries and what adaptation needs, of one compiled draw whose state is
    updated in place (as in the loop of `MCMC`). Without the orders of computation of
    `trees.ordering` they are 16.
    """
    data = jnp.ones((512, 100)), jnp.zeros(512, int)
    kernel = PseudoLangevin(network)
    state = kernel.init(jax.random.key(0), 10, None, data, {})
    draw = jax.jit(lambda s: kernel.sample(s, data, {}), donate_argnums=0)
    memory = draw.lower(state).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    held += memory.output_size_in_bytes - memory.alias_size_in_bytes
    ratio = held / sum(v.nbytes for v in state.z.values())
    print(f"memory: {ratio:.2f} times the parameters")
    assert ratio < 8
