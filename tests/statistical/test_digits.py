# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The digits example against NUTS, at the default settings.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from digits_runs import reference

from numpyro_pl import SGNHT, AdLaLa, diagnostics

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
def nuts():
    return reference()


SEEDS = (0, 1, 2)

MARGIN_ERROR = 0.045
"""
Standard error of the difference in probability between the two likeliest classes of an
image, from four chains. The spread between chains gave 0.03 to 0.056 for the fourteen
images for which it is smallest.
"""


def measured(bnn_digits, langevin, nuts):
    """Figures of a run beside the stored reference."""
    off = (langevin.potential.mean() - nuts.potential) / nuts.potential_sd
    figures = bnn_digits.measure_chains(langevin, nuts.probs)
    return {**figures, "potential_diff_sd": float(off)}


@pytest.fixture(scope="module")
def runs(bnn_digits, nuts):
    """Figures and mean probabilities of three seeds against one NUTS reference."""
    found = {}
    for seed in SEEDS:
        langevin = bnn_digits.sample_langevin(seed)
        mean = np.asarray(langevin.probs, np.float64).mean((0, 1))
        found[seed] = measured(bnn_digits, langevin, nuts), mean
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_digits_agree_with_nuts(runs, nuts, seed):
    """
    The class is compared where NUTS decides on it by more than 4 standard errors: 7 of
    359 images are closer. On four of them it is undecided itself, at 0.004 to 0.024
    with standard errors of 0.01 to 0.016, and so six seeds of this kernel had 2 to 5
    other classes in all. A false alarm in a thousand runs.
    """
    one, mean = runs[seed]
    print("seed", seed, one)
    assert one["divergences"] == 0
    assert one["kinetic_temperature"] == pytest.approx(1.0, abs=0.02)
    assert abs(one["potential_diff_sd"]) <= 0.5
    # Aimed at: 0.2.
    assert 0.1 < one["noise_fraction"] <= 0.27
    # Measured: 0.0041 to 0.0045, and one chain 0.0072 to 0.0080; two chains of NUTS
    # differ by 0.0055. Before friction from the examples, after as many steps: 0.0065
    # to 0.0072.
    assert one["total_variation"] <= 0.0075
    assert one["total_variation_chain"] <= 0.011
    ranked = np.sort(nuts.probs, axis=-1)
    decided = ranked[:, -1] - ranked[:, -2] > 4 * MARGIN_ERROR
    assert (~decided).sum() < 12
    np.testing.assert_array_equal(
        mean[decided].argmax(-1), nuts.probs[decided].argmax(-1)
    )


def test_the_seeds_together_predict_as_nuts_does(runs, nuts):
    """
    Twelve chains: at least 0.99 of the classes, that is 3 other ones of 359. With four
    ties and a standard error of 0.026 a fourth comes once in 150 sets of three seeds.
    """
    mean = np.mean([probs for _, probs in runs.values()], axis=0)
    agreement = diagnostics.agreement(mean, nuts.probs)
    print("agreement", agreement)
    assert agreement >= 0.99


@pytest.mark.parametrize("kernel", [SGNHT, AdLaLa])
def test_partitioned_kernels_agree_with_nuts(bnn_digits, nuts, kernel):
    langevin = bnn_digits.sample_langevin(seed=0, kernel=kernel)
    one = measured(bnn_digits, langevin, nuts)
    temperature = langevin.mcmc.last_state.mean_kinetic_temperature.mean(0)
    print(kernel.__name__, temperature, one)
    assert one["divergences"] == 0
    assert one["total_variation"] <= 0.02
    assert temperature == pytest.approx(1.0, abs=0.05)
