"""Windows of volumes: as those of series, of the volumes that a store keeps beside them.

All that is said of people, draws and validity is as `Windows` says it; a window is [T, X, Y, Z] in
the place of [R, T], and whoever asks for series (`Windows.aligned`, connectivity) gets series.
Frames are picked, never made, so that time is as published (``temporal: official``).

Shapes: B batch, R ROIs, T frames of a window, X, Y, Z voxels of a volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.signals.people import stride_of
from brainjepa_core.signals.storing.kept_aligned import KeptAligned
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.temporal import official_indices
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Window, Windows
from brainjepa_core.volume_grid import VolumesRead


class VolumeWindows(Windows):
    """Random windows of volumes, and where a step sees two of a scan, pairs that share no frame.

    Parameters
    ----------
    stores : sequence of Scans
    settings : WindowSettings
        With ``temporal: official``.
    volumes : VolumesRead
    patch : int
        Frames of a token.
    kept : KeptAligned, optional
        Where aligned series are kept on disk.

    Raises
    ------
    ValueError
        If time is not as published, or as `Windows`.
    """

    def __init__(
        self,
        stores: Sequence[Scans],
        settings: WindowSettings,
        volumes: VolumesRead,
        *,
        patch: int = 1,
        kept: KeptAligned | None = None,
    ) -> None:
        require_official(settings)
        super().__init__(stores, settings, patch=patch, kept=kept, volumes=volumes)
        self.volumes = volumes

    def other(self, subjects: Sequence[int], seeds: Sequence[tuple[int, ...]]) -> Float32:
        """Second windows [B, T, X, Y, Z], of the scans and seeds of `batch`'s."""
        pairs = zip(subjects, seeds, strict=True)
        return np.stack([self._second(subject, seed).signal for subject, seed in pairs])

    def _second(self, subject: int, seed: tuple[int, ...]) -> Window:
        record, (_, start) = self._starts(subject, seed)
        return self._window_at(self.people[subject].store, record, start)

    def _drawn(self, subject: int, seed: tuple[int, ...]) -> tuple[ScanRecord, int]:
        if self.volumes.windows == 1:
            return super()._drawn(subject, seed)
        record, (start, _) = self._starts(subject, seed)
        return record, start

    def _starts(self, subject: int, seed: tuple[int, ...]) -> tuple[ScanRecord, tuple[int, int]]:
        """Which scan of a person a seed's two windows are from, and their first frames.

        Even over all pairs of places that share no frame, in either order.
        """
        rng = np.random.default_rng([subject, *seed])
        records = self.people[subject].records
        record = records[rng.integers(len(records))]
        length = self.settings.frames * stride_of(record, self.settings)
        places = record.frames - 2 * length + 2  # for two that do not cover one another
        early, late = np.sort(rng.choice(places, 2, replace=False))
        first, second = int(early), int(late) + length - 1
        return record, (second, first) if rng.integers(2) else (first, second)

    def _window_at(self, store: int, record: ScanRecord, start: int) -> Window:
        # Only a store on the disk has records with volumes.
        of_scan = cast(ScanStore, self.stores[store]).volumes(record)
        length, stride = self.settings.frames, stride_of(record, self.settings)
        chosen = official_indices(record.frames, length, stride, start)
        window = np.zeros((length, *of_scan.shape[1:]), np.float32)
        window[: len(chosen)] = of_scan[chosen]
        known = ~np.isin(self.atlas.rois, record.missing)
        return Window(window, np.arange(length) < len(chosen), known)


def require_official(settings: WindowSettings) -> None:
    """Refuse time that no volume is of.

    Raises
    ------
    ValueError
    """
    if settings.temporal != "official":
        raise ValueError(
            "expected windows.temporal: official with a model that reads volumes, whose frames "
            f"are picked, found {settings.temporal}; set it"
        )
