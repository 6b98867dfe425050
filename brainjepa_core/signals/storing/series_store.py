"""Series in memory, with the interface of a store: for those who have arrays and no folder.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float32
from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_table import ScanRecord, array_digest, fingerprint_of
from brainjepa_core.usable import require_seconds, require_usable


class SeriesStore:
    """One scan a person, held in memory; `Windows` takes it as it takes a `ScanStore`.

    Parameters
    ----------
    series : sequence of array [R, F]
        In atlas order; a row of NaN is a missing ROI. Scans may differ in length.
    tr : float or sequence of float
        Repetition time in seconds, of all scans or of each.
    atlas : Atlas, optional
        By default, of the shape of the first scan, with ROIs called by their number.

    Raises
    ------
    ValueError
        If there is no scan, or one has another number of ROIs or cannot be used
        (`brainjepa_core.usable`).
    """

    path: Path = Path("series in memory")

    def __init__(
        self,
        series: Sequence[ArrayLike],
        tr: float | Sequence[float],
        atlas: Atlas | None = None,
    ) -> None:
        arrays = [np.ascontiguousarray(scan, np.float32) for scan in series]
        if not arrays:
            raise ValueError("expected at least one series, found none; give arrays [ROIs, frames]")
        trs = [float(tr)] * len(arrays) if np.isscalar(tr) else [float(t) for t in tr]  # type: ignore[union-attr, arg-type]
        if len(trs) != len(arrays):
            raise ValueError(
                f"expected a repetition time for each of {len(arrays)} series, found {len(trs)}; "
                "give one number for all, or as many as there are series"
            )
        if atlas is None:
            rois = len(arrays[0]) if arrays[0].ndim == 2 else 0
            atlas = Atlas.from_names([f"ROI {i}" for i in range(1, rois + 1)], "unnamed")
        self.atlas = atlas
        self._arrays: dict[tuple[str, str, str], Float32] = {}
        self.records: tuple[ScanRecord, ...] = ()
        for number, (array, seconds) in enumerate(zip(arrays, trs, strict=True), 1):
            self._add(f"{number:06d}", array, seconds)

    def _add(self, subject: str, array: Float32, tr: float) -> None:
        where = f"series {int(subject)}"
        if array.ndim != 2 or len(array) != len(self.atlas):
            raise ValueError(
                f"{where}: expected [{len(self.atlas)} ROIs, frames], found shape "
                f"{list(array.shape)}; transpose it if time comes first"
            )
        try:
            live = require_usable(array, self.atlas.rois)
            require_seconds(tr)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        record = ScanRecord(
            subject=subject,
            tr=tr,
            frames=array.shape[1],
            sha256=array_digest(array),
            missing=tuple(self.atlas.rois[i] for i in np.flatnonzero(~live)),
        )
        self._arrays[record.key] = array
        self.records = (*self.records, record)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over atlas and scans."""
        return fingerprint_of(self.atlas, self.records)

    def series(self, record: ScanRecord) -> Float32:
        """Array [R, F] of a scan."""
        return self._arrays[record.key]
