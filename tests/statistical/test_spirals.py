# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The two-spirals example: partitioned Langevin dynamics against Adam."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.statistical


@pytest.fixture
def spirals(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    import spirals_adlala

    yield spirals_adlala
    sys.modules.pop("spirals_adlala")


def test_published_accuracies(spirals):
    """
    Published settings, five chains on each of five data sets. The means measured were
    0.873 (AdLaLa) and 0.898 (LOL) with standard errors of 0.008 over data sets; the
    bounds are 3 of these below, and Adam, at 0.78 on the first data set, is below them.
    Chains pooled predict better than their draws.
    """
    single = {"AdLaLa": [], "LOL": []}
    for seed in range(5):
        data = spirals.make_data(seed)
        for name in single:
            kernel = spirals.make_kernels()[name]
            run = spirals.sample(kernel, data, seed, spirals.EPOCHS)
            one = spirals.figures(run, data["y_test"])
            print(seed, name, one["single"].round(3), "pooled", round(one["pooled"], 3))
            assert one["pooled"] > one["single"].mean()
            single[name].append(one["single"].mean())
    means = {name: np.mean(values) for name, values in single.items()}
    print(means)
    assert means["AdLaLa"] > 0.85
    assert means["LOL"] > 0.875
