"""How Sphinx builds the site: `make docs`."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "metarl"
author = project_copyright = "the metarl authors"
version = release = installed_version("metarl")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generate", "mathml"]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "metarl"
html_static_path = ["_static"]
html_css_files = ["wide.css"]

# Single backticks in docstrings are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Dashes and quotation marks stay as they are typed: flags begin with two dashes, and theta' ends with an apostrophe.
smartquotes = False
autodoc_preserve_defaults = True
