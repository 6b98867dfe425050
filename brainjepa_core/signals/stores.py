"""Several stores at once: a folder of stores stands for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainjepa_core.signals.store import HEADER, ScanStore


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
