"""Sphinx configuration: one theme, numpydoc references, mathematics from a local copy."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path
from typing import Any

import sphinx.errors

import selfnorm

project = "selfnorm"
author = "The selfnorm developers"
copyright = "the selfnorm developers"
version = release = selfnorm.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
autosummary_generate = False
autodoc_typehints = "none"  # numpydoc's Parameters sections say them
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
nitpicky = False

html_theme = "furo"
html_title = f"selfnorm {release}"
html_static_path = ["_static"]


class _Assets(html.parser.HTMLParser):
    """Collect what a browser would load from elsewhere: scripts, styles, pictures, fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            loads = name == "src" or (tag == "link" and name == "href")
            if loads and value and re.match(r"(https?:)?//", value):
                self.remote.append(value)


def refuse_remote_assets(app: Any, exception: Exception | None) -> None:
    """Fail the build if a page would load anything from the network."""
    if exception is not None or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        assets = _Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        if assets.remote:
            raise sphinx.errors.SphinxError(f"{page} loads from the network: {assets.remote}")


def skip_aliases(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool:
    """Leave out what Python writes beside the fields of a named tuple: it says nothing."""
    return skip or (getattr(value, "__doc__", None) or "").startswith("Alias for field number")


def setup(app: Any) -> None:
    """Register both."""
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("build-finished", refuse_remote_assets)
