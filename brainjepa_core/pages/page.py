"""HTML pages that open anywhere, need nothing else, and print: one base page, one style sheet.

A room's template extends ``pages/base.html`` and draws tables, pictures and notes with
``pages/parts.html``. The base gives it contents, explains words of the field, and says how it was
made and whom to cite; `methods`, where a page has it, is a text to paste into a paper. Whatever is
put into a template is escaped there: names, settings and reasons come from files and from other
machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined

from brainjepa_core.files import atomic_path
from brainjepa_core.pages.made import PAPER, SOFTWARE, Made
from brainjepa_core.pages.palette import DARK, LIGHT
from brainjepa_core.pages.reading import readable
from brainjepa_core.pages.table import Cell


def render(package: str, template: str, **content: Any) -> str:
    """A page as text.

    Parameters
    ----------
    package : str
        That the template lies in.
    template : str
        Name of its file.
    **content
        What the template shows; a name that it misses is an error.
    """
    return _templates(package).get_template(template).render({"made": Made.now(), **content})


def write_page(
    path: Path, package: str, template: str, *, beside: Sequence[str] = (), **content: Any
) -> Path:
    """Write a page, replacing the file in one step.

    Parameters
    ----------
    path : Path
    package, template, **content
        As of `render`.
    beside : sequence of str
        Files that the page was made of, in its folder; it links to those that are there.
    """
    there = [name for name in beside if (path.parent / name).is_file()]
    page = render(package, template, beside=there, **content)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


@cache
def _templates(package: str) -> Environment:
    shared = PackageLoader("brainjepa_core.pages", ".")
    found = Environment(
        loader=ChoiceLoader([PrefixLoader({"pages": shared}), PackageLoader(package, ".")]),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"light": LIGHT, "dark": DARK, "software": SOFTWARE, "paper": PAPER}
    found.globals["readable"] = readable
    found.tests["cell"] = lambda value: isinstance(value, Cell)
    return found


def _shown(value: object) -> object:
    """Without control characters and half surrogates, which HTML does not allow."""
    if hasattr(value, "__html__"):  # a macro's
        return value
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
