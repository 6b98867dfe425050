"""The arrays of a store: a file a scan, named by its facts and its content, and one of its volumes.

Shapes: R ROIs, F frames of a scan, X, Y, Z voxels of a volume.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import atomic_path, clear_leftovers, sync
from brainjepa_core.problems import plainly
from brainjepa_core.signals.storing.scan_table import ScanRecord, Volumes, array_digest
from brainjepa_core.usable import require_seconds, require_usable

ARRAYS, VOLUMES = "scans", "volumes"  # folders of a store


class WrittenVolumes(NamedTuple):
    """Volumes of a scan on their way into a store.

    Attributes
    ----------
    path : Path
        Under a temporary name in the store's folder of volumes.
    facts : Volumes
    frames : int
    """

    path: Path
    facts: Volumes
    frames: int


def array_path(store: Path, record: ScanRecord) -> Path:
    """File of a scan's array."""
    return store / ARRAYS / f"{_name(*record.key, record.sha256)}.npy"


def volumes_path(store: Path, record: ScanRecord) -> Path | None:
    """File of a scan's volumes, where it has some."""
    if record.volumes is None:
        return None
    return store / VOLUMES / f"{_name(*record.key, record.volumes.sha256)}.npy"


def files_of(store: Path, record: ScanRecord) -> set[Path]:
    """All files of a scan."""
    volumes = volumes_path(store, record)
    return {array_path(store, record)} | ({volumes} if volumes is not None else set())


def _name(*facts: str) -> str:
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]


def write_arrays(
    store: Path, record: ScanRecord, array: Float32, volumes: WrittenVolumes | None
) -> None:
    """Put a scan's arrays in their places, before a line names them."""
    path = volumes_path(store, record)
    if volumes is not None and path is not None:
        sync(volumes.path)
        os.replace(volumes.path, path)
        sync(path.parent)
    with atomic_path(array_path(store, record)) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def mapped_array(store: Path, record: ScanRecord) -> Float32:
    """Memory-mapped array [R, F] of a scan, read-only.

    Raises
    ------
    ValueError
        If the array is gone or cannot be read.
    """
    try:
        found: Float32 = np.load(array_path(store, record), mmap_mode="r", allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"expected the array of each scan in {ARRAYS}/, found {plainly(error)} for "
            "one; restore the folder, or import the scans again into a new store"
        ) from error


def mapped_volumes(store: Path, record: ScanRecord) -> NDArray[np.float16]:
    """Memory-mapped volumes [F, X, Y, Z] of a scan, read-only.

    Raises
    ------
    ValueError
        If the scan has none, or they are gone or cannot be read.
    """
    path = volumes_path(store, record)
    if path is None:
        raise ValueError(
            "expected the volumes of a scan, found its series alone; say prepare.volumes and make "
            "the store in another folder (brainjepa site prepare)"
        )
    try:
        found: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"expected the volumes of each scan in {VOLUMES}/, found {plainly(error)} for one; "
            "restore the folder, or make the store anew in another one (brainjepa site prepare)"
        ) from error


def damaged(
    store: Path, records: Iterable[ScanRecord], looked_at: Callable[[], object]
) -> list[ScanRecord]:
    """Scans with an array that is missing or differs from its checksum; told after each."""
    found = []
    for record in records:
        if not _is_intact(store, record):
            found.append(record)
        looked_at()
    return found


def _is_intact(store: Path, record: ScanRecord) -> bool:
    """Whether a scan's arrays are there and have the checksums of its facts; reads all of them."""
    try:
        if array_digest(mapped_array(store, record)) != record.sha256:
            return False
        volumes = record.volumes
        return volumes is None or array_digest(mapped_volumes(store, record)) == volumes.sha256
    except ValueError:
        return False


def clear_unnamed(store: Path, records: Iterable[ScanRecord]) -> None:
    """Remove arrays that belong to none of these scans, and half-written ones."""
    named = {path for record in records for path in files_of(store, record)}
    for folder in (store / ARRAYS, store / VOLUMES):
        clear_leftovers(folder)
        for path in folder.glob("*.npy"):
            if path not in named:
                path.unlink()


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, where they are there."""
    for path in paths:
        path.unlink(missing_ok=True)


def require_scan(
    array: Float32, volumes: WrittenVolumes | None, atlas: Atlas, subject: str, tr: float
) -> NDArray[np.bool_]:
    """Refuse what cannot be trained on; return which ROIs hold a signal.

    Raises
    ------
    ValueError
        As `ScanStore.append` says.
    """
    if array.ndim != 2 or array.shape[0] != len(atlas):
        raise ValueError(
            f"expected a series [{len(atlas)} ROIs, frames], found shape "
            f"{list(array.shape)}; bring rows to the order of atlas '{atlas.name}'"
        )
    if not subject:
        raise ValueError("expected a subject, found none; complete the table of scans")
    require_seconds(tr)
    live = require_usable(array, atlas.rois)
    if volumes is not None and volumes.frames != array.shape[1]:
        raise ValueError(
            f"expected a volume for each of {array.shape[1]} frames, found {volumes.frames}; make "
            "both of the same frames"
        )
    return live
