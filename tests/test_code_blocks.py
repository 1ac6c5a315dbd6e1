# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Code in README and documentation. Its example is run, and the tutorials are run by the
build of the pages. All other blocks are checked without running them: they parse, what
they import exists, and what they call takes the keywords that they give.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path

import pytest

import numpyro_pl
from numpyro_pl.kernels.settings import PartitionSettings, PseudoLangevinSettings

ROOT = Path(__file__).parents[1]
LITERAL = re.compile(
    r"(?:^\.\. code-block:: python|^(?!\.\. ).*::)\n\n((?:(?: {3,}.*)?\n)+)",
    re.MULTILINE,
)
COMMANDS = ("pip ", "python ", "5  __init__ ->")
"""How literal blocks begin that are not Python."""

SETTINGS = {
    field.name
    for settings in (PseudoLangevinSettings, PartitionSettings)
    for field in dataclasses.fields(settings)
}


@cache
def blocks():
    """Pairs (page and number, code) of all blocks of Python."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.rst"))]:
        text = page.read_text()
        if page.suffix == ".md":
            codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        else:
            codes = [textwrap.dedent(code) for code in LITERAL.findall(text)]
        codes = [code for code in codes if not code.startswith(COMMANDS)]
        found += [(f"{page.name}-{i}", code) for i, code in enumerate(codes)]
    return found


@cache
def public():
    """Callables of the package by their name, where it has one meaning."""
    places = [numpyro_pl]
    places += [
        v for v in map(numpyro_pl.__dict__.get, numpyro_pl.__all__) if _module(v)
    ]
    return {
        n: getattr(m, n) for m in places for n in m.__all__ if callable(m.__dict__[n])
    }


def _module(value):
    return inspect.ismodule(value) and hasattr(value, "__all__")


def unknown_keywords(call):
    """Keywords of a call that the function of this name does not take."""
    name = ast.unparse(call.func).rsplit(".", 1)[-1]
    if name not in public():
        return []
    parameters = inspect.signature(public()[name]).parameters.values()
    known = {p.name for p in parameters}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        if not inspect.isclass(public()[name]):
            return []
        known |= SETTINGS
    given = [k.arg for k in call.keywords if k.arg]
    return [f"{name}({k}=)" for k in given if k not in known]


@pytest.mark.parametrize(("where", "code"), blocks(), ids=[w for w, _ in blocks()])
def test_a_block_is_code_of_this_version(where, code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("numpyro_pl"):
            module = importlib.import_module(node.module)
            assert [n.name for n in node.names if not hasattr(module, n.name)] == []
        if isinstance(node, ast.Call):
            assert unknown_keywords(node) == []


def test_the_blocks_are_found():
    """A change of style in the pages must not empty the list."""
    pages = {where.rsplit("-", 1)[0] for where, _ in blocks()}
    assert len(blocks()) > 30
    assert {"README.md", "getting_started.rst", "store.rst", "scaling.rst"} <= pages


@pytest.mark.statistical
def test_the_example_of_the_readme_runs_and_is_right(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    from documented import readme

    # A run like this one is called wrong in less than 1.5 of 100 (docs/trust.rst).
    printed = readme.printed()
    assert "Nothing is wrong" in printed
    assert "Number of divergences: 0" in printed
