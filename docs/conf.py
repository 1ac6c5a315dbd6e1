# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Sphinx configuration."""

import sys
from pathlib import Path

import numpyro_pl

PAGES = Path(__file__).parent
sys.path.insert(0, str(PAGES))
import house  # noqa: E402
import reports  # noqa: E402

reports.write(PAGES / "_generated")
house.draw(PAGES / "architecture.rst", PAGES / "_generated" / "house.svg")

project = "numpyro_pl"
author = "The numpyro_pl authors"
copyright = author
version = release = numpyro_pl.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
# NumPyro's docstrings mark code with single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
exclude_patterns = ["_build", "_generated", "*.md"]

html_theme = "furo"
html_title = f"numpyro_pl {release}"
