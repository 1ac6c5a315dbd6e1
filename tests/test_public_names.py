# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""What a user sees: the public names, their places in the docs, their arguments."""

import inspect
import re
from pathlib import Path

import numpyro.infer
import pytest

import numpyro_pl as npl

DOCS = Path(__file__).parents[1] / "docs"
MODULES = (
    "dynamics",
    "diagnostics",
    "landscape",
    "optim",
    "plots",
    "datasets",
    "store",
)
PUBLIC = [
    (f"numpyro_pl.{module}", name)
    for module in MODULES
    for name in getattr(npl, module).__all__
]


def test_what_the_package_shows():
    """Kernels, what is in every workflow, and modules: no room that serves others."""
    kernels = {
        "PseudoLangevin",
        "PublishedPseudoLangevin",
        "PartitionedLangevin",
        "AdLaLa",
        "LOL",
        "MultilayerLangevin",
        "SGLD",
        "SGHMC",
        "SGNHT",
    }
    workflow = {"compare", "find_map", "init_to_map", "random_scaled_sgdm"}
    workflow |= {"predict", "report", "sample_to_store", "streamed"}
    workflow |= {"temperature_sweep"}
    assert set(npl.__all__) == kernels | workflow | set(MODULES)
    assert set(dir(npl)) == {*npl.__all__, "__version__"}


def directives() -> set[str]:
    """Full names of all that the pages document."""
    found = set()
    for page in DOCS.glob("*.rst"):
        current = ""
        for line in page.read_text().splitlines():
            if match := re.match(r"\.\. currentmodule:: (\S+)", line):
                current = match[1]
            if match := re.match(r"\.\. auto(?:class|function|data):: (\S+)", line):
                full = match[1].startswith("numpyro_pl")
                found.add(match[1] if full else f"{current}.{match[1]}")
    return found


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_every_public_name_is_documented_once(module, name):
    assert f"{module}.{name}" in directives()
    assert f"{module}.{name}`" in (DOCS / "api.rst").read_text()
    assert inspect.getdoc(getattr(getattr(npl, module.split(".")[1]), name))


def test_kernels_are_documented():
    text = (DOCS / "api.rst").read_text()
    for name in npl.__all__:
        value = getattr(npl, name)
        if inspect.isclass(value):
            assert f"numpyro_pl.{name}" in directives()
            assert f"numpyro_pl.{name}`" in text


def test_nothing_is_documented_from_a_private_module():
    private = [n for n in directives() if any(p[0] == "_" for p in n.split("."))]
    assert private == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_keys_are_called_rng_key_and_tolerances_tol(module, name):
    value = getattr(getattr(npl, module.split(".")[1]), name)
    if callable(value) and not inspect.isclass(value):
        names = set(inspect.signature(value).parameters)
        assert not names & {"key", "prng_key", "tolerance", "rtol", "atol"}


def test_building_a_kernel_leaves_numpyro_alone():
    before = {name: value for name, value in vars(numpyro.infer.MCMC).items()}
    npl.PseudoLangevin(lambda: None)
    npl.SGLD(lambda: None)
    assert vars(numpyro.infer.MCMC) == before
    assert numpyro.infer.MCMC.run.__module__ == "numpyro.infer.mcmc"


def test_version_is_the_same_everywhere():
    citation = (DOCS.parent / "CITATION.cff").read_text()
    assert f"version: {npl.__version__}\n" in citation
    assert f"## {npl.__version__} " in (DOCS.parent / "CHANGELOG.md").read_text()
