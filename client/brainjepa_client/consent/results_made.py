"""Where a site's commands wrote results that rest on its people, so that they are found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly

MADE = "results.json"  # in the site's state folder


class Made(NamedTuple):
    """A file or folder of results: what it is in words, and where it lies."""

    what: str
    path: Path


def note_results(state: Path, what: str, path: Path) -> None:
    """Remember a file or folder of results; noted before they are written.

    Parameters
    ----------
    state : Path
        The site's state folder.
    what : str
        Such as "embeddings".
    path : Path
    """
    known, made = _listed(state), Made(what, path.resolve())
    if made not in known:
        with atomic_path(state / MADE) as temporary:
            content = [[what, str(path)] for what, path in [*known, made]]
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def results_made(state: Path) -> list[Made]:
    """All results that are still there, oldest first.

    Raises
    ------
    ValueError
        If the list is damaged.
    """
    return [made for made in _listed(state) if made.path.exists()]


def _listed(state: Path) -> list[Made]:
    path = state / MADE
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Made(str(what), Path(where)) for what, where in content]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected the list of this site's results in '{path}', found {plainly(error)}; "
            "restore the file, or remove it: results made before are then not found again"
        ) from error
