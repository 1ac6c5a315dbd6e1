# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""Sphinx configuration."""

import sys
from pathlib import Path

import matplotlib

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
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "links",
]
sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py$",
    "within_subsection_order": "ExampleTitleSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "plot_gallery": "True",
}
# NumPyro's docstrings mark code with single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
exclude_patterns = ["_build", "_generated", "tutorials", "gallery/*.md5"]
# The build runs the tutorials in this process.
matplotlib.rcParams.update({"font.size": 11, "savefig.dpi": 130})

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"numpyro_pl {release}"
