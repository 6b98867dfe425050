"""What a folder of results was made from, so that it is never taken for results of something else.

What is made over hours, or goes on where it stopped, says in ``origin.json`` what decides its
content: settings as they are, data and models as digests. The file stays with the results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import plainly
from brainjepa_core.settings import flatten

ORIGIN = "origin.json"
NAMED = 6  # so many of the parts that differ are named


def digest(facts: Any) -> str:
    """sha256 (hex) of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def require_origin(folder: Path, parts: Mapping[str, Any], results: Sequence[str]) -> None:
    """Refuse a folder whose results were made from something else, or do not say from what.

    Parameters
    ----------
    folder : Path
        It may be new.
    parts : mapping
        All that decides the results, by name; JSON can hold it. Parts may have parts.
    results : sequence of str
        Names in the folder that are results: with one of them, there must be an ``origin.json``.

    Raises
    ------
    ValueError
        Naming the parts that differ, never their values.
    """
    path = folder / ORIGIN
    if not path.exists():
        there = [name for name in results if (folder / name).exists()]
        if there:
            raise ValueError(
                f"expected a new folder, or {ORIGIN} beside {there[0]}, found none, so that "
                "nothing says what these results were made from; start a new folder"
            )
        return
    differ = sorted({name for name, _ in _texts(parts) ^ _texts(_read(path))})
    if differ:
        more = f" and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
        raise ValueError(
            f"expected the same {', '.join(differ[:NAMED])}{more} as the results in this folder "
            f"were made from ({ORIGIN}), found others; go back to those, or start a new folder"
        )


def claim_folder(folder: Path, parts: Mapping[str, Any], results: Sequence[str]) -> None:
    """Make a folder that of results of these parts, or refuse as `require_origin` does."""
    require_origin(folder, parts, results)
    if not (folder / ORIGIN).exists():
        with atomic_path(folder / ORIGIN) as temporary:
            temporary.write_text(json.dumps(parts, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"expected a readable {ORIGIN} in the folder of results, found "
            f"{plainly(error)}; restore the file, or start a new folder"
        ) from error
    return found


def _texts(parts: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Dotted names of all parts, each with its value as JSON."""
    plain = json.loads(json.dumps(parts))
    return {(name, json.dumps(value, sort_keys=True)) for name, value in flatten(plain)}
