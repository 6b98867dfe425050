"""What windows ask of a site's scans, wherever they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from brainjepa_core.arrays import Float32
from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.storing.scan_table import ScanRecord


class Scans(Protocol):
    """Scans of one site in one atlas: a `ScanStore`, or a `SeriesStore` in memory."""

    atlas: Atlas

    @property
    def path(self) -> Path:
        """Where they are, for files and logs that stay on this machine."""

    @property
    def records(self) -> tuple[ScanRecord, ...]:
        """All scans."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over atlas and scans."""

    def series(self, record: ScanRecord) -> Float32:
        """Array [R, F] of a scan, in atlas order; a row of NaN is a missing ROI."""
