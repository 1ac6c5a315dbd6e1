# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""A dynamics written outside the package, as docs/dynamics.rst shows it."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from gjf_dynamics import GJF
from many_chains import harmonic_scores
from numpyro.infer import MCMC
from runs_in_pieces import check_resumed, in_pieces
from shared_models import linear_model

from numpyro_pl import PartitionedLangevin
from numpyro_pl.dynamics import GroupDynamics, Langevin, PseudoLangevinDynamics

FILE = Path(__file__).parents[2] / "examples" / "gjf_dynamics.py"


@dataclass(frozen=True)
class OneNoise(GJF):
    """Broken: only the new noise, as strong as the two together."""

    def step(self, increments, position, momentum, gradient, scales, noise_variance):
        u, noise = momentum
        new = jax.tree.map(lambda n: 2**-0.5 * n, noise)
        moved = super().step(
            increments, position, (u, new), gradient, scales, noise_variance
        )
        (x, (u, n)) = moved
        shift = jax.tree.map(lambda n: (2**0.5 - 1) * n, n)
        return jax.tree.map(lambda x, s: x + s, x, shift), (u, n)


def test_it_is_one_short_file():
    assert len(FILE.read_text().splitlines()) < 60


@pytest.mark.parametrize("per_step", [0.1, 1.0])
def test_variances_are_exact(per_step):
    """
    Frequencies to 1.2, three variances and temperatures within 3 standard errors: a
    false alarm in 1.6 % of all keys, and none with these.
    """
    scores, hot = harmonic_scores(GJF, per_step=per_step)
    print("z-scores", scores.round(2), "temperature", hot.round(2))
    assert np.abs(scores).max() < 3
    assert np.abs(hot).max() < 3


def test_the_check_fails_for_broken_dynamics():
    scores, _ = harmonic_scores(OneNoise)
    assert np.abs(scores).max() > 5


def run(kernel):
    return MCMC(
        kernel,
        num_warmup=40,
        num_samples=150,
        num_chains=64,
        chain_method="vectorized",
        progress_bar=False,
    )


def test_the_warmup_sets_its_step(regression):
    """
    On the full data, beside a group of another dynamics: means and sd of 64 chains
    within 4 standard errors of exact, at 3,000 or more independent draws.
    """
    x, y = (np.asarray(a, np.float64) for a in regression)
    covariance = np.linalg.inv(x.T @ x + np.eye(3))
    exact, sd = covariance @ x.T @ y, np.sqrt(np.diag(covariance))

    def model(x, y):
        first = numpyro.sample("first", dist.Normal(0, 1))
        others = numpyro.sample("others", dist.Normal(0, 1).expand([2]).to_event(1))
        w = jnp.concatenate([first[None], others])
        with numpyro.plate("data", 600):
            numpyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)

    partition = {"first": GJF(friction=0.5), "others": Langevin(friction=0.5)}
    mcmc = run(PartitionedLangevin(model, partition))
    mcmc.run(jax.random.key(0), *regression, extra_fields=("kinetic_temperature",))
    draws = mcmc.get_samples()
    w = np.concatenate([draws["first"][:, None], draws["others"]], axis=1)
    scores = (w.mean(0) - exact) / (sd / 3_000**0.5)
    ratio = w.std(0) / sd
    temperature = np.asarray(mcmc.get_extra_fields()["kinetic_temperature"]).mean(0)
    print("means", scores.round(2), "sd ratios", ratio.round(3), "T", temperature)
    assert np.abs(scores).max() < 4
    assert np.abs(ratio - 1).max() < 4 / 6_000**0.5
    assert np.abs(temperature - 1).max() < 0.05


def test_it_resumes_after_pickling(regression):
    """Its momentum is a pair that the kernel knows nothing of."""
    kernel = PartitionedLangevin(linear_model, {"*": GJF()}, num_steps=3)
    check_resumed(in_pieces(kernel, regression, "w"))


def test_what_is_no_dynamics_is_refused():
    class Lookalike:
        step = GroupDynamics.step

    with pytest.raises(ValueError, match="subclass of its GroupDynamics"):
        PartitionedLangevin(linear_model, {"*": Lookalike()})


def test_a_dynamics_alone_says_what_it_lacks():
    with pytest.raises(ValueError, match="has no noise_fraction: give it"):
        PseudoLangevinDynamics().choose_scales(np.ones(1), np.ones(1))
