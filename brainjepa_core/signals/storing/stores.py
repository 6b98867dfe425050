"""Opening and making stores by path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.store_header import HEADER


def open_store(path: str | Path) -> ScanStore:
    """Open a site's store.

    Its scans are ``.records``, and ``.series(record)`` is the array [ROIs, frames] of one; where
    ``record.volumes`` says so, ``.volumes(record)`` are its volumes [frames, X, Y, Z].

    Raises
    ------
    ValueError
        If the folder is no store, of another format, or its table is damaged.
    """
    return ScanStore.open(path)


def create_store(path: str | Path, atlas: Atlas | Sequence[str]) -> ScanStore:
    """Make a store, or open the one that is there, to ``.append`` scans to it.

    Parameters
    ----------
    path : path
    atlas : Atlas or sequence of str
        An atlas (`load_atlas`), or names of ROIs in the order of rows.

    Raises
    ------
    ValueError
        If there is a store of another atlas, or names are empty or repeated.
    """
    named = atlas if isinstance(atlas, Atlas) else Atlas.from_names(atlas)
    return ScanStore.create(path, named)


def open_stores(paths: Sequence[str | Path]) -> list[ScanStore]:
    """Open stores; a folder of stores stands for all of them, in order of their names."""
    found = []
    for path in map(Path, paths):
        inside = sorted(p.parent for p in path.glob(f"*/{HEADER}"))
        found += [path] if (path / HEADER).exists() or not inside else inside
    # A store named twice (by itself and in its folder) would make every person two people.
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    return [ScanStore.open(path) for path in once.values()]
