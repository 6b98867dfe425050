"""The folder of a demo, which the next demo may replace: only what a demo made is ever removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import counted

MADE = "demo.json"


@contextmanager
def demo_folder(folder: Path) -> Iterator[None]:
    """An empty folder for a demo, whose files are written down when it ends, however it ends.

    Raises
    ------
    ValueError
        If there are files in the folder that no demo is known to have made; nothing is removed.
    """
    found = _files(folder)
    strangers = found - _made(folder)
    if strangers:
        raise ValueError(
            "expected a new folder, or one that holds what an earlier demo made and nothing "
            f"else, found {counted(len(strangers), 'other file')}, such as '{min(strangers)}'; "
            "give another --out, or move them away"
        )
    if found:
        shutil.rmtree(folder)
    try:
        yield
    finally:
        if folder.is_dir():
            files = sorted(_files(folder))
            with atomic_path(folder / MADE) as temporary:
                temporary.write_text(json.dumps(files, indent=1) + "\n")


def _files(folder: Path) -> set[str]:
    """All that is no folder, links included, relative to the folder; without the list itself."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in found} - {MADE}


def _made(folder: Path) -> set[str]:
    try:
        return set(json.loads((folder / MADE).read_text()))
    except (OSError, ValueError, TypeError):
        return set()
