# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The examples run, and with a tenth of their draws are already sane."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.statistical


@pytest.fixture
def bnn_digits(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    pytest.importorskip("sklearn")
    import bnn_digits

    yield bnn_digits
    sys.modules.pop("bnn_digits")


def test_bnn_digits_quick(bnn_digits):
    figures = bnn_digits.run(seed=0, quick=True)
    print("\n" + bnn_digits.format_table(figures))
    assert figures["accuracy"] > 0.93
    assert figures["divergences"] == 0
    # 350 draws of 12 steps: the standard error was about 0.002.
    assert figures["kinetic_temperature"] == pytest.approx(1.0, abs=0.05)
