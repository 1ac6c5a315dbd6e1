# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""One owner for each setting: the group's own first, else the kernel's."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from shared_models import linear_model

from numpyro_pl import (
    LOL,
    SGLD,
    AdLaLa,
    MultilayerLangevin,
    PartitionedLangevin,
    PseudoLangevin,
)
from numpyro_pl.dynamics import Langevin, OverdampedLangevin, PseudoLangevinDynamics
from numpyro_pl.kernels.settings import KernelSettings, PartitionSettings


def two_sites(x, y, batch=50):
    """Linear regression with the coefficients in two sites."""
    a = numpyro.sample("a", dist.Normal(0, 1).expand([2]).to_event(1))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([1]).to_event(1))
    with numpyro.plate("data", x.shape[0], subsample_size=batch):
        xb = numpyro.subsample(x, event_dim=1)
        yb = numpyro.subsample(y, event_dim=0)
        mean = xb @ jnp.concatenate([a, b])
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=yb)


def run(kernel, regression, warmup=100, **kwargs):
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=40,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), *regression, extra_fields=("noise_fraction",), **kwargs)
    return mcmc


@pytest.mark.parametrize("own", [0, 1])
def test_a_groups_own_noise_fraction_comes_first(regression, own):
    """One group has a fraction of its own, the other takes the kernel's."""
    settings = [{}, {}]
    settings[own] = {"noise_fraction": 0.2}
    partition = {
        "a": PseudoLangevinDynamics(**settings[0]),
        "b": Langevin(**settings[1]),
    }
    kernel = PartitionedLangevin(two_sites, partition, noise_fraction=0.02)
    mcmc = run(kernel, regression)
    fractions = np.asarray(mcmc.get_extra_fields()["noise_fraction"]).mean(0)
    print("noise fractions", fractions)
    # What is measured in warmup is a mean over chains plus a margin, so not exact.
    assert 0.13 < fractions[own] < 0.25
    assert 0.013 < fractions[1 - own] < 0.025


def test_a_groups_own_max_frequency_comes_first(regression):
    """Without noise the largest frequency of each group is the one asked for."""
    partition = {"a": Langevin(max_frequency=0.2), "b": OverdampedLangevin()}
    kernel = PartitionedLangevin(two_sites, partition, max_frequency=0.4)
    scales = run(kernel, regression, warmup=64, batch=None).last_state.scales
    x = np.asarray(regression[0], np.float64)
    hessian = (x.T @ x + np.eye(3)) / 600
    for group, rows, wanted in ((0, slice(0, 2), 0.2), (1, slice(2, 3), 0.4)):
        largest = np.linalg.eigvalsh(hessian[rows, rows])[-1]
        frequency = np.asarray(scales[group].step_size) * largest**0.5
        print("largest frequency", frequency)
        # The curvature is taken from rows, and both groups together: some below.
        assert (frequency < 1.05 * wanted).all()
        assert (frequency > 0.75 * wanted).all()


def test_defaults_of_groups_are_the_kernels():
    kernel = PartitionedLangevin(
        linear_model,
        {"*": PseudoLangevinDynamics(friction=0.1)},
        noise_fraction=0.3,
        max_frequency=0.7,
    )
    defaults = kernel.settings.group_defaults(600)
    bound = kernel.partition["*"].bind(defaults)
    assert (bound.noise_fraction, bound.max_frequency) == (0.3, 0.7)
    assert bound.friction == 0.1
    own = Langevin(noise_fraction=0.1, max_frequency=0.9, step_size=0.2).bind(defaults)
    assert (own.noise_fraction, own.max_frequency, own.step_size) == (0.1, 0.9, 0.2)
    assert own.data_size == 600


@pytest.mark.parametrize("kernel", [AdLaLa, LOL, SGLD])
def test_ready_made_kernels_refuse_group_of(kernel):
    """Their groups are fixed; an argument that would be ignored is an error."""
    with pytest.raises(TypeError, match=f"{kernel.__name__} has no setting 'group_of'"):
        kernel(linear_model, group_of=lambda name: "first_layer")


def test_multilayer_langevin_takes_group_of(regression):
    partition = {"even": Langevin(), "odd": Langevin(temperature=2.0)}
    kernel = MultilayerLangevin(
        two_sites, partition, group_of={"a": "even", "b": "odd"}.__getitem__
    )
    state = kernel.init(jax.random.key(0), 1, None, regression, {})
    assert state.temperature.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: KernelSettings(num_steps=0), ValueError, "num_steps must be"),
        (lambda: KernelSettings(variance_rate=0), ValueError, "variance_rate must be"),
        (lambda: KernelSettings(warn=0), ValueError, "warn must be True or False"),
        (lambda: PartitionSettings(step_size=-1), ValueError, "step_size must be"),
        (lambda: PartitionSettings(max_frequency=2), ValueError, "max_frequency must"),
        (lambda: PseudoLangevin(linear_model, noise="signs"), TypeError, "'noise'"),
        (lambda: Langevin(noise_fraction=0.0), ValueError, "noise_fraction must be"),
        (lambda: Langevin(max_frequency=2.5), ValueError, "max_frequency must be"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_settings_are_frozen():
    kernel = PseudoLangevin(linear_model)
    with pytest.raises(AttributeError):
        kernel.settings.num_steps = 3
