"""Sphinx configuration. The pages load nothing from the network."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "grpo-identity"
author = "The grpo-identity authors"
copyright = "The grpo-identity authors, Apache-2.0"
release = version = installed("grpo-identity")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "proof_ledger",
    "command_output",
    "markdown_page",
    "public_names",
    "theory_figures",
    "diagnostics_power",
    "difficulty_atlas",
    "experiment_pages",
    "conformance",
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [("py:class", "collections.abc.Callable")]
default_role = "literal"
smartquotes = False

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True  # as written: a table of functions has no short value
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
numpydoc_validation_checks: set[str] = set()

mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {
    "options": {"enableMenu": False},  # the menu would offer to fetch things
    "svg": {"fontCache": "global"},
}

html_theme = "furo"
html_title = "grpo-identity"
html_static_path = ["_static"]
html_css_files = ["ledger.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
