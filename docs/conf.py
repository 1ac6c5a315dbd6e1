# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Sphinx configuration."""

import numpyro_pl

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
exclude_patterns = ["_build", "*.md"]

html_theme = "furo"
html_title = f"numpyro_pl {release}"
