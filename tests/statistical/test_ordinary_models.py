# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Default settings on models for which nothing was tuned, against NUTS. More of them, and
more starts and keys, are in `tests/benchmarks/bench_warmup.py`.
"""

import pytest
from ordinary_models import PROBLEMS
from ordinary_runs import known_references, outcome

pytestmark = pytest.mark.statistical


@pytest.mark.parametrize(
    ("name", "num_draws"),
    [
        ("negative_binomial", 1000),
        ("mixture", 1000),
        ("hierarchical_centred", 1000),
        ("hierarchical_non_centred", 1000),
        ("regression_relu", 2000),
    ],
)
def test_default_settings_reach_the_posterior(name, num_draws):
    """
    Measured with two keys: off by at most 0.14 standard deviations of the potential
    (the network: 0.27), R-hat at most 1.022 (the network after 1,000 draws: 1.041). The
    first version of the package ended 20 to 1,200 standard deviations away from three
    of them.
    """
    one = outcome(PROBLEMS[name](), 0, (500, num_draws), known_references()[name])
    print(name, one)
    assert abs(one.off) < 0.5
    assert one.r_hat < 1.05
    assert one.temperature == pytest.approx(1.0, abs=0.02)
    assert one.divergences == 0
    assert one.said == []
