# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
After a divergence a chain goes on with a fresh thermal momentum. The check is also run
on a kernel broken on purpose, which keeps the momentum it had, and must fail there.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC

from numpyro_pl import PseudoLangevin

CHAINS, FRICTION, TEMPERATURE = 100, 0.1, 2.0


class NotRefreshed(PseudoLangevin):
    """Broken: a diverged draw leaves the momentum of the draw before."""

    def sample(self, state, model_args, model_kwargs):
        new = super().sample(state, model_args, model_kwargs)

        def keep(fresh, old):
            diverging = jnp.reshape(new.diverging, (-1,) + (1,) * (old.ndim - 1))
            return jnp.where(diverging, old, fresh)

        return new._replace(momentum=jax.tree.map(keep, new.momentum, state.momentum))


def cliff(z):
    """Harmonic inside |z| < 1.5, NaN beyond: a chain diverges where it steps over."""
    return jnp.where(jnp.abs(z) < 1.5, 0.5 * z**2, jnp.nan).sum()


def refresh_scores(kernel_type):
    """
    Momenta that follow a divergence, in thermal units: standard errors of their mean
    from 0, their mean square from 1, their product with the momentum before from 0.
    """
    kernel = kernel_type(
        potential_fn=cliff, friction=FRICTION, temperature=TEMPERATURE, num_steps=5
    )
    mcmc = MCMC(
        kernel,
        num_warmup=10,
        num_samples=40,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    names = ("momentum", "scales", "diverging")
    start = jnp.zeros((CHAINS, 2))
    with pytest.warns(UserWarning, match="diverged"):
        mcmc.run(jax.random.key(0), init_params=start, extra_fields=names)
    fields = mcmc.get_extra_fields(group_by_chain=True)
    u, rate, diverging = (
        np.asarray(jax.tree.leaves(fields[name])[0], float) for name in names
    )
    # The mass is h^2 (1 + c) / (2 a), so that h p / M has the variance 2 a T / (1 + c).
    p = u / np.sqrt(2 * rate * TEMPERATURE / (1 + math.exp(-FRICTION)))
    rows = diverging[:, 1:] > 0
    old, new = p[:, :-1][rows].ravel(), p[:, 1:][rows].ravel()
    assert new.size > 1000
    return {
        "mean": new.mean() * new.size**0.5,
        "square": (np.mean(new**2) - 1) * (new.size / 2) ** 0.5,
        "product": np.sum(old * new) / np.sum(old**2) ** 0.5,
    }


def test_the_momentum_is_fresh_after_a_divergence():
    """
    Three scores within 4 standard errors: with random keys a false alarm in 5,000 runs.
    """
    scores = refresh_scores(PseudoLangevin)
    assert all(abs(score) < 4 for score in scores.values()), scores


def test_the_check_fails_where_the_momentum_is_kept():
    """The momentum kept is the one before, and hot, since it led over a cliff."""
    scores = refresh_scores(NotRefreshed)
    assert scores["product"] > 20, scores
    assert scores["square"] > 8, scores
