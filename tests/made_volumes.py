"""Stores with volumes beside their series, as `prepare` writes them, of made numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.files import temporary_name
from brainjepa_core.signals.storing.scan_arrays import VOLUMES, WrittenVolumes
from brainjepa_core.signals.storing.scan_table import Volumes, array_digest
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.volume_grid import VolumeGrid

GRID = VolumeGrid((8, 8, 8), 24.0)
ROIS = load_atlas().rois[:6]


def volume_store(
    path: Path, volumes: dict[str, NDArray[np.floating]], *, tr: float = 2.0, grid=GRID
) -> ScanStore:
    """A store of six ROIs, and of people's volumes [F, X, Y, Z]."""
    store = ScanStore.create(path, Atlas.from_names(ROIS, "six"))
    (path / VOLUMES).mkdir(exist_ok=True)
    for number, (subject, values) in enumerate(volumes.items()):
        series = np.random.default_rng(number).standard_normal((len(ROIS), len(values)))
        content = np.asarray(values, np.float16)
        temporary = temporary_name(path / VOLUMES / "made.npy")
        with temporary.open("wb") as file:
            np.save(file, content)
        written = WrittenVolumes(temporary, Volumes(grid, array_digest(content)), len(content))
        age = {"age": float(20 + 5 * number)}
        store.append(series, subject=subject, tr=tr, phenotypes=age, volumes=written)
    return store


def of_people(people: int, frames: int, seed: int = 0) -> dict[str, NDArray[np.floating]]:
    """Volumes of people who have a pattern each, and noise in time."""
    chance = np.random.default_rng(seed)
    return {
        f"sub-{number}": chance.standard_normal(GRID.size)
        + 0.5 * chance.standard_normal((frames, *GRID.size))
        for number in range(people)
    }
