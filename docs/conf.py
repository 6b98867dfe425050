"""Sphinx's settings of the documentation: ``make docs``."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import matplotlib as mpl
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE),
    *(str(HERE.parent / room) for room in ("client", "server", "simulations", ".")),
]

from reference_pages import write_pages  # noqa: E402

mpl.use("agg")

project = "brainjepa-federated"
author = "The brainjepa-federated contributors"
project_copyright = author
release = version = metadata.version(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "README.md"]
html_theme = "furo"
html_title = project
html_static_path: list[str] = []

# Anchors of headings as GitHub makes them, so that a link works in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings have types, in words
# Types are read as they are written; those of pydantic's own methods are not ours to explain.
autodoc_inherit_docstrings = False

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"made_series\.py",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
}

# Pages name folders of the repository as GitHub shows them.
ELSEWHERE = {"](../examples)": "](gallery/index.rst)"}


def _links(app: Sphinx, page: str, source: list[str]) -> None:
    for there, here in ELSEWHERE.items():
        source[0] = source[0].replace(there, here)


def setup(app: Sphinx) -> None:
    """Make the pages that the code tells, before Sphinx looks for pages."""
    write_pages(HERE / "reference" / "made")
    app.connect("source-read", _links)
