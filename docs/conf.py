"""Sphinx configuration: `make docs` builds the site into docs/_build/html, with warnings as errors."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generated  # noqa: E402 - found by the line above

import tunlab.packet.match  # noqa: E402
from tunlab.packet import Header  # noqa: E402

vars(tunlab.packet.match)["Header"] = Header  # imported for typing alone there; autodoc evaluates the annotations

project = "tunlab"
author = "The tunlab authors"
copyright = "The tunlab authors, MIT licence"  # noqa: A001 - Sphinx's name
release = version = installed_version("tunlab")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # an attribute name that several classes have is not an error

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings are in Google style; a name in single backticks is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "tunlab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"
pygments_dark_style = "monokai"


def mark_examples(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    """Mark the indented examples of docstrings as code: reStructuredText needs `::` before them, and readers do not."""
    marked: list[str] = []
    last = " "
    for line in lines:
        if line.startswith(" ") and marked and not marked[-1] and not last.startswith(" ") and not last.endswith("::"):
            marked += ["::", ""]
        marked.append(line)
        last = line or last
    lines[:] = marked


def setup(app: Sphinx) -> None:
    """Fill in the generated parts of reference pages, and mark the examples of docstrings."""
    app.connect("source-read", generated.fill_in)
    app.connect("autodoc-process-docstring", mark_examples, priority=400)  # before napoleon, which has 500
