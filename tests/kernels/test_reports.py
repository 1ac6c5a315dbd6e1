# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What a run says by itself, and what the progress bar shows."""

import jax
import jax.numpy as jnp
import pytest
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import PseudoLangevin
from numpyro_pl.kernels import reports

CHAINS = 4


def normal(z):
    return 0.5 * jnp.sum(z**2)


def run(potential, start, warmup=200, **settings):
    kernel = PseudoLangevin(potential_fn=potential, num_steps=10, **settings)
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=5,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), init_params=start)
    jax.effects_barrier()
    return mcmc


def test_a_chain_that_still_falls_is_reported():
    start = jnp.full((CHAINS, 50), 1000.0)
    with pytest.warns(UserWarning, match="not settled: the potential is still falling"):
        run(normal, start, max_frequency=1e-3)


def test_chains_in_different_modes_are_reported():
    """Two modes, one of them five nats higher, and no way between them."""

    def two_modes(z):
        first = 0.5 * jnp.sum((z - 30) ** 2)
        return jnp.minimum(first, 0.5 * jnp.sum((z + 30) ** 2) + 5)

    start = jnp.array([-30.0, 30.0, -30.0, 30.0])[:, None] * jnp.ones((CHAINS, 3))
    with pytest.warns(UserWarning, match="the chains are in different places"):
        run(two_modes, start)


def test_settled_chains_are_not_reported():
    """Warnings are errors in this suite."""
    run(normal, jnp.ones((CHAINS, 50)))


def test_the_stage_is_shown():
    kernel = PseudoLangevin(potential_fn=normal, num_steps=10)
    start = jnp.full(3, 50.0)
    state = kernel.init(jax.random.key(0), 20, start, (), {})
    sample = jax.jit(lambda s: kernel.sample(s, (), {}))
    stages = []
    for _ in range(22):
        state = sample(state)
        stages.append(kernel.get_diagnostics_str(state).split()[0])
    expected = ["descending"] * 4 + ["heating"] * 6 + ["adapting"] * 10
    assert stages == [*expected, "sampling", "sampling"]
    assert "steps=" not in kernel.get_diagnostics_str(state)
    longer = state._replace(settling=state.settling._replace(stretch=jnp.asarray(3)))
    assert kernel.get_diagnostics_str(longer).endswith(" steps=x3")


def test_a_runaway_goes_back_and_is_counted():
    """A target whose curvature explodes outside of a ball."""

    def steep(z):
        norm = jnp.sum(z**2)
        return 0.5 * norm + jnp.where(norm > 60.0, 1e8 * (norm - 60.0) ** 2, 0.0)

    start = 0.1 * jnp.ones((CHAINS, 30))
    mcmc = run(steep, start)
    z = mcmc.get_samples()
    assert jnp.isfinite(z).all()
    assert float(jnp.max(jax.vmap(steep)(z))) < 200


def test_chains_far_from_their_anchor_are_reported(regression, monkeypatch):
    """Here all of them, from the 50th draw on."""
    monkeypatch.setattr(reports, "has_left", lambda frame, v: frame.share > 0)
    mcmc = MCMC(
        PseudoLangevin(linear_model),
        num_warmup=30,
        num_samples=60,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )

    def run():
        mcmc.run(jax.random.key(0), *regression)
        jax.effects_barrier()

    with pytest.warns(UserWarning, match="2 chains are so far from their anchor"):
        run()


def host_calls(jaxpr, path=()):
    """The operations around each call from a program to the host, from outside in."""
    for eqn in jaxpr.eqns:
        if "callback" in eqn.primitive.name or "outfeed" in eqn.primitive.name:
            yield path
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_program):
            if _is_program(inner):
                inner = getattr(inner, "jaxpr", inner)
                yield from host_calls(inner, (*path, eqn.primitive.name))


def _is_program(value):
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def test_a_draw_calls_the_host_for_warnings_only(regression):
    """
    Each of three warnings is in a branch of its own, which is taken when there is
    reason to warn; the steps are in loops, from which nothing is sent. Without
    warnings there are no calls at all, as JAX's compilation cache requires.
    """
    keys = jax.random.split(jax.random.key(0), 2)
    for warn, expected in ((True, 3 * [("cond",)]), (False, [])):
        kernel = PseudoLangevin(linear_model, warn=warn)
        state = jax.eval_shape(lambda k: kernel.init(k, 5, None, regression, {}), keys)
        draw = jax.make_jaxpr(lambda s: kernel.sample(s, regression, {}))(state)
        assert list(host_calls(draw.jaxpr)) == expected
        assert "while" in {eqn.primitive.name for eqn in draw.jaxpr.eqns}


def test_under_a_vmap_only_what_is_true_is_said():
    said = []

    @jax.vmap
    def chain(i):
        reports.say_if(i == 2, lambda n: said.append(int(n)), i)
        return i

    jax.block_until_ready(jax.jit(chain)(jnp.arange(4)))
    jax.effects_barrier()
    assert said == [2]
