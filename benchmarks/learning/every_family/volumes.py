"""The synthetic cohort of `families.py` as volumes, for the family that reads no series.

A voxel has the signal of the ROI whose place is nearest, and noise of its own as strong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from every_family.people import COHORT

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.files import temporary_name
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.scan_arrays import VOLUMES, WrittenVolumes
from brainjepa_core.signals.storing.scan_table import ScanRecord, Volumes, array_digest
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.volume_grid import VolumeGrid
from brainjepa_simulations.cohort.stores import write_cohort

GRID = VolumeGrid((8, 8, 8), 20.0)
# A voxel is a token here: 4 mm of the paper's are 20.
SWIFT = PretrainingSettings(
    family="swift",
    preset="tiny",
    windows={"frames": 20, "temporal": "official"},
    basis={"kind": "centroids"},
    model={"volume": GRID.size, "mm": GRID.mm, "cube": 1, "window": 4},
)


def volume_people(folder: Path) -> Windows:
    """Windows of volumes of three hospitals of sixty, whose traits live in the connectivity."""
    whole = load_atlas()
    atlas = whole.take([whole.rois[i * len(whole) // COHORT.rois] for i in range(COHORT.rois)])
    stores = []
    for path in write_cohort(COHORT, folder / "series", atlas=atlas):
        store = ScanStore.create(folder / "volumes" / path.name, atlas)
        (store.path / VOLUMES).mkdir()
        series = ScanStore.open(path)
        for record in series.records:
            _painted(store, record, np.nan_to_num(series.series(record).astype(np.float64)))
        stores.append(store)
    return SWIFT.windows_of(stores)


def _painted(store: ScanStore, record: ScanRecord, series: Float64) -> None:
    """Add a scan [R, F] with its volumes [F, X, Y, Z]."""
    seed = int(record.sha256[:8], 16)
    noise = np.random.default_rng(seed).standard_normal((series.shape[1], *GRID.size))
    z = (series - series.mean(1, keepdims=True)) / series.std(1, keepdims=True).clip(1e-6)
    values = z[_nearest(store.atlas)].reshape(*GRID.size, -1).transpose(3, 0, 1, 2) + noise
    content = values.astype(np.float16)
    temporary = temporary_name(store.path / VOLUMES / "made.npy")
    with temporary.open("wb") as file:
        np.save(file, content)
    store.append(
        series,
        subject=record.subject,
        session=record.session,
        run=record.run,
        tr=record.tr,
        phenotypes=record.phenotypes,
        volumes=WrittenVolumes(temporary, Volumes(GRID, array_digest(content)), len(content)),
    )


def _nearest(atlas: Atlas) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The ROI of each voxel [X Y Z], by its place."""
    voxels = np.indices(GRID.size).reshape(3, -1).T
    away = voxels[:, None] - GRID.places(atlas.centroids)
    found: np.ndarray[tuple[int], np.dtype[np.intp]] = np.square(away).sum(-1).argmin(1)
    return found
