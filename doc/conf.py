# SPDX-License-Identifier: BSD-3-Clause
"""Configuration of the documentation."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import deepmd_tf

project = "deepmd_tf"
author = copyright = "the deepmd_tf authors"
version = release = deepmd_tf.__version__

extensions = [
    "generated_pages",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",  # the pages need no network; changes the path of MathJax
]
highlight_language = "text"  # of blocks without one: commands, and what they print
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"deepmd_tf {version}"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types stand in the docstrings, with shapes and units
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
