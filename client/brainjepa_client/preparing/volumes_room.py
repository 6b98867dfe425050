"""What volumes take of the disk, told before the first one is written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from brainjepa_core.problems import counted
from brainjepa_core.signals.images.volumes import DTYPE
from brainjepa_core.signals.preparation import VolumeSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan

GB = 10**9


def bytes_of_volumes(settings: VolumeSettings, frames: int) -> int:
    """Of so many volumes."""
    return math.prod(settings.size) * frames * DTYPE.itemsize


def on_volumes(settings: VolumeSettings | None, frames: int, scans: int, store: Path) -> list[str]:
    """A sentence on the disk that volumes need; none where there are none to write."""
    if settings is None or not frames:
        return []
    return [
        f"volumes of {counted(scans, 'scan')} ({settings.grid}) take "
        f"{bytes_of_volumes(settings, frames) / GB:.3g} GB of the {_free(store) / GB:.3g} GB that "
        "the store's disk has free"
    ]


def told_room(
    settings: VolumeSettings | None, scans: Iterable[FoundScan], store: Path
) -> list[str]:
    """`on_volumes` of scans that are about to be prepared, by their headers.

    Raises
    ------
    ValueError
        If the disk has no room for them.
    """
    if settings is None:
        return []
    frames = []
    for scan in scans:
        try:
            frames.append(scan.check().frames)
        except ScanProblem:
            continue  # which preparing it will name
    needed, free = bytes_of_volumes(settings, sum(frames)), _free(store)
    if needed > free:
        raise ValueError(
            f"expected room for volumes of {counted(len(frames), 'scan')} ({settings.grid}), "
            f"{needed / GB:.3g} GB, found {free / GB:.3g} GB free on the store's disk; choose "
            "another folder as store, prepare some people (--participant-label), or give a "
            "smaller prepare.volumes"
        )
    return on_volumes(settings, sum(frames), len(frames), store)


def _free(store: Path) -> int:
    there = next(path for path in (store, *store.resolve().parents) if path.exists())
    return shutil.disk_usage(there).free
