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


def test_partitions_beat_adam(spirals):
    """
    Five seeds on the data set of seed 3, published settings and 4,000 epochs: the
    published order of the methods, with a gap to Adam of more than 3 standard errors,
    and chains that together predict better than one draw.
    """
    runs, data = spirals.run(seed=3)
    table = {name: spirals.figures(one, data["y_test"]) for name, one in runs.items()}
    print("\n" + spirals.format_table(table))
    adam = table["Adam"]["single"]
    for name, least, pooled in (("AdLaLa", 0.87, 0.91), ("LOL", 0.88, 0.93)):
        single = table[name]["single"]
        gap = single.mean() - adam.mean()
        se = np.hypot(single.std(ddof=1), adam.std(ddof=1)) / len(adam) ** 0.5
        assert gap > 3 * se
        assert single.mean() >= least
        assert table[name]["pooled"] >= pooled
        assert table[name]["pooled"] > single.mean()
