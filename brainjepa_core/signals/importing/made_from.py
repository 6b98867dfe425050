"""What a store was made from, beside it: settings of `prepare`, or every import by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.version import VERSION

PREPARATION = "preparation.json"  # in a store that `site prepare` keeps
IMPORTS = "imports.json"  # in a store that imports keep


def content_digest(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the contents of files, whatever their names and order."""
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def read_imports(store: Path) -> list[dict[str, Any]]:
    """What was imported into a store, oldest first; empty where no import has been.

    Raises
    ------
    ValueError
        If the list is damaged.
    """
    path = store / IMPORTS
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, list):
            raise TypeError
        return found
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected the list of imports in {IMPORTS} of store '{store}', found "
            f"{plainly(error)}; restore the file, or import into a new folder"
        ) from error


def note_import(store: Path, facts: Mapping[str, Any]) -> None:
    """Add an import to a store's list; the same one twice stands there once.

    Parameters
    ----------
    store : Path
        Whose only writer this process is.
    facts : mapping
        JSON can hold it.
    """
    known = read_imports(store)
    line = {**facts, "version": VERSION}
    if line not in known:
        with atomic_path(store / IMPORTS) as temporary:
            temporary.write_text(json.dumps([*known, line], indent=1) + "\n", encoding="utf-8")


def require_imported(store: Path) -> None:
    """Refuse to import into a store that ``site prepare`` keeps.

    Raises
    ------
    ValueError
    """
    if (store / PREPARATION).exists():
        raise ValueError(
            f"expected a new folder, or a store that was imported, found '{store}', which "
            "`brainjepa site prepare` keeps; import into another folder"
        )
