# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""The names that the pages link to exist in the packages that are installed."""

import pydoc
import runpy
from pathlib import Path

import pytest

LINKS = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "links.py"))
NAMES = sorted({name for names in LINKS["PAGES"].values() for name in names.values()})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_linked_exists(name):
    pytest.importorskip(name.split(".")[0])
    assert pydoc.locate(name) is not None


def test_addresses():
    """Of a name on a page of many, and on a page of its own."""
    addresses = LINKS["ADDRESSES"]
    nuts = "https://num.pyro.ai/en/stable/mcmc.html#numpyro.infer.hmc.NUTS"
    assert addresses["NUTS"] == nuts
    assert addresses["jax.vmap"].endswith("/_autosummary/jax.vmap.html")
