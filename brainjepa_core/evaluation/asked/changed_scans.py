"""Scans as another hospital would have taken them: shorter, without some ROIs, at another TR.

A change is made to what a store holds, before anything is aligned, scaled or read, so that all
that follows treats it as it would treat such a hospital's scans.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.atlas import Atlas
from brainjepa_core.origin import digest
from brainjepa_core.signals.storing.scan_table import Key, ScanRecord, fingerprint_of
from brainjepa_core.signals.storing.scans import Scans


class Change(Protocol):
    """What is changed of a scan."""

    def facts(self, record: ScanRecord, atlas: Atlas) -> ScanRecord:
        """Repetition time, frames and missing ROIs of the changed scan; the rest as it is."""

    def series(self, series: Float32, record: ScanRecord) -> Float32:
        """The changed scan; `record` is the one before."""


@dataclass(frozen=True)
class FirstSeconds:
    """A scan that was stopped after some seconds; a shorter one stays as it is."""

    seconds: float

    def facts(self, record: ScanRecord, atlas: Atlas) -> ScanRecord:
        return replace(record, frames=self._frames(record))

    def series(self, series: Float32, record: ScanRecord) -> Float32:
        return series[:, : self._frames(record)]

    def _frames(self, record: ScanRecord) -> int:
        return min(record.frames, round(self.seconds / record.tr))


@dataclass(frozen=True)
class EveryOther:
    """A scan at twice its repetition time: every other frame."""

    def facts(self, record: ScanRecord, atlas: Atlas) -> ScanRecord:
        return replace(record, frames=-(-record.frames // 2), tr=2 * record.tr)

    def series(self, series: Float32, record: ScanRecord) -> Float32:
        return series[:, ::2]


@dataclass(frozen=True)
class WithoutROIs:
    """A hospital whose field of view leaves a share of ROIs out, the same of all its people."""

    share: float
    seed: int

    def facts(self, record: ScanRecord, atlas: Atlas) -> ScanRecord:
        gone = {atlas.rois[i] for i in self._gone(len(atlas))}
        missing = tuple(roi for roi in atlas.rois if roi in gone or roi in record.missing)
        return replace(record, missing=missing)

    def series(self, series: Float32, record: ScanRecord) -> Float32:
        found = series.copy()
        found[self._gone(len(series))] = np.nan
        return found

    def _gone(self, rois: int) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        return np.sort(rng.choice(rois, round(self.share * rois), replace=False))


class ChangedScans:
    """A site's scans under a change; `Windows` takes it as it takes the store itself."""

    def __init__(self, store: Scans, change: Change) -> None:
        self.atlas = store.atlas
        self._store, self._change = store, change
        self._before: dict[Key, ScanRecord] = {record.key: record for record in store.records}
        self.records: tuple[ScanRecord, ...] = tuple(map(self._changed, store.records))

    def _changed(self, record: ScanRecord) -> ScanRecord:
        found = self._change.facts(record, self.atlas)
        if found == record:
            return record
        return replace(found, sha256=digest([record.sha256, repr(self._change)]))

    @property
    def path(self) -> Path:
        """Of the store, whose name is the site's."""
        return self._store.path

    @property
    def fingerprint(self) -> str:
        """SHA-256 over atlas and changed scans."""
        return fingerprint_of(self.atlas, self.records)

    def series(self, record: ScanRecord) -> Float32:
        """Array [R, F] of a changed scan."""
        before = self._before[record.key]
        return self._change.series(self._store.series(before), before)


def changed(stores: tuple[Scans, ...], change_of: Callable[[int], Change | None]) -> list[Scans]:
    """Stores of which each has its change, by its number; None leaves one as it is."""
    found: list[Scans] = []
    for number, store in enumerate(stores):
        change = change_of(number)
        found.append(store if change is None else ChangedScans(store, change))
    return found
