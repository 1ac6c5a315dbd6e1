# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Fixtures shared by the tests, and how they are compiled."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

MOST_MAPS = 20_000
"""
Memory maps of a process from which compiled programs are dropped. A run of MCMC leaves
some 1,300, and at 65,530, the limit of Linux, XLA ends the process with a segmentation
fault.
"""


def pytest_configure(config):
    """
    XLA's older code generator takes the fast suite a third less time. Only jaxlib
    0.10 is known to have it: later ones end the process at a flag they do not know.
    """
    # A compiled program leaves many objects behind, through which the collector of
    # garbage need not look so often.
    gc.set_threshold(50_000)
    # Which line an operation comes from: nobody reads it in the programs of tests.
    jax.config.update("jax_traceback_in_locations_limit", 0)
    fast_suite = "not statistical" in config.option.markexpr
    if fast_suite and version("jaxlib").startswith("0.10."):
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """
    Compile with few optimizations: most of the fast suite's time is compilation, and
    this takes a third of it less. Not where many draws are made.
    """
    quick = item.get_closest_marker("statistical") is None
    jax.config.update("jax_disable_most_optimizations", quick)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Drop compiled programs before a process has too many."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def regression():
    """Small regression data: x of shape (600, 3), y of shape (600,)."""
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (600, 3))
    y = x @ jnp.array([1.0, 0.0, -1.0]) + jax.random.normal(key_y, (600,))
    return x, y
