"""Windows as a model reads them: of series of ROIs, or of volumes."""

from __future__ import annotations

from collections.abc import Sequence

from brainjepa_core.models.interface import ModelShape
from brainjepa_core.signals.storing.kept_aligned import KeptAligned
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.volume_windows import VolumeWindows
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.volume_grid import VolumesRead


def training_windows(
    shape: ModelShape,
    stores: Sequence[Scans],
    settings: WindowSettings,
    kept: KeptAligned | None = None,
) -> Windows:
    """Windows of all people whose scans a model can be trained on.

    Parameters
    ----------
    shape : ModelShape
    stores : sequence of Scans
    settings : WindowSettings
    kept : KeptAligned, optional
        Where aligned scans are kept on disk.
    """
    if shape.volumes is not None:
        return VolumeWindows(stores, settings, shape.volumes, patch=shape.patch, kept=kept)
    rest = shape.predicts_rest
    return Windows(stores, settings, patch=shape.patch, with_rest=rest, kept=kept)


def read_windows(
    shapes: Sequence[ModelShape], stores: Sequence[Scans], settings: WindowSettings
) -> Windows:
    """Windows of all people that some models can read; of series where there is no model.

    Raises
    ------
    ValueError
        If some read series and others volumes, or volumes on other grids.
    """
    patch = max((shape.patch for shape in shapes), default=1)
    grids = {None if shape.volumes is None else shape.volumes.grid for shape in shapes}
    if len(grids) > 1:
        kinds = sorted("series of ROIs" if grid is None else f"volumes of {grid}" for grid in grids)
        raise ValueError(
            f"expected models that read the same, found some that read {' and '.join(kinds)}; "
            "evaluate them one by one"
        )
    grid = next(iter(grids), None)
    if grid is None:
        return Windows(stores, settings, patch=patch)
    return VolumeWindows(stores, settings, VolumesRead(grid), patch=patch)
