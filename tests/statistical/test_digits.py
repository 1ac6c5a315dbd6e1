# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
The digits example against NUTS, at the default settings.
"""

import sys
from pathlib import Path

import pytest

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
    return bnn_digits.sample_nuts(seed=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_agree_with_nuts(bnn_digits, nuts, seed):
    figures = bnn_digits.run(seed=seed, nuts=nuts)
    print(f"\nseed {seed}\n{bnn_digits.format_table(figures)}")
    assert figures["divergences"] == 0
    assert figures["kinetic_temperature"] == pytest.approx(1.0, abs=0.02)
    assert abs(figures["potential_diff_sd"]) <= 0.5
    assert figures["total_variation"] <= 0.016
    assert figures["agreement"] >= 0.99
