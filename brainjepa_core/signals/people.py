"""The people of some stores: who has a scan that windows can be cut from, and who has not.

Shapes: T frames of a window, F frames of a scan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.temporal import official_indices, official_stride, resampled_frames
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.usable import why_unusable
from brainjepa_core.volume_grid import VolumesRead

FOUND = ", found "  # in a reason, between what was expected and what was not


class Person(NamedTuple):
    """One subject of one store, with the scans that can be used."""

    store: int
    records: tuple[ScanRecord, ...]


class LeftOut(NamedTuple):
    """A scan that no window can be cut from. Names a person: for the site's own eyes.

    Attributes
    ----------
    scan : str
        Store, subject, session and run.
    reason : str
        As `brainjepa_core.usable.why_unusable` says it.
    """

    scan: str
    reason: str

    def __str__(self) -> str:
        return f"{self.scan}: {self.reason}"


def people_of(
    stores: Sequence[Scans],
    settings: WindowSettings,
    patch: int = 1,
    with_rest: bool = False,
    volumes: VolumesRead | None = None,
) -> tuple[tuple[Person, ...], tuple[LeftOut, ...]]:
    """People with their usable scans, and the scans that are left out; reads no series.

    Parameters
    ----------
    stores : sequence of Scans
    settings : WindowSettings
    patch : int
        Frames a token; a window needs as many valid ones for a single token.
    with_rest : bool
        Leave out also who has no two windows apart from one another (`signals.rest`).
    volumes : VolumesRead, optional
        Leave out also scans without such volumes, or too short for so many windows of them.
    """
    people: list[Person] = []
    left_out: list[LeftOut] = []
    for number, store in enumerate(stores):
        scans: dict[str, list[ScanRecord]] = {}
        for record in sorted(store.records, key=lambda record: record.key):
            # Sorted, so that equal stores give equal windows whatever order their scans came in.
            reason = _why_left_out(record, len(store.atlas), settings, patch)
            if not reason and volumes is not None:
                reason = _why_no_volumes(record, settings, volumes)
            if reason:
                left_out.append(LeftOut(_name(store, record), reason))
            else:
                scans.setdefault(record.subject, []).append(record)
        for subject in sorted(scans):
            records = tuple(scans[subject])
            reason = _why_no_rest(records, settings) if with_rest else ""
            if reason:
                left_out += [LeftOut(_name(store, record), reason) for record in records]
            else:
                people.append(Person(number, records))
    return tuple(people), tuple(left_out)


def in_short(left_out: Sequence[LeftOut]) -> list[str]:
    """How many scans are left out and what was found, a line for each thing that was expected.

    Names nobody. The most frequent come first.
    """
    wants: dict[str, list[str]] = {}
    for scan in left_out:
        expected, found, rest = scan.reason.partition(FOUND)
        wants.setdefault(expected, []).append(found + rest)
    lines = []
    for expected, rests in sorted(wants.items(), key=lambda want: -len(want[1])):
        (found, _), *others = Counter(rests).most_common()
        more = len(rests) - rests.count(found)
        told = f"{found}; other values in {more}" if others else found
        lines.append(f"{counted(len(rests), 'scan')}: {expected}{told}")
    return lines


def _name(store: Scans, record: ScanRecord) -> str:
    return " ".join(filter(None, (f"{store.path.name}/{record.subject}", *record.key[1:])))


def aligned_frames(record: ScanRecord, settings: WindowSettings) -> int:
    """Frames F of a scan once aligned."""
    if settings.temporal == "official":
        return record.frames
    return resampled_frames(record.frames, record.tr, settings.tr)


def stride_of(record: ScanRecord, settings: WindowSettings) -> int:
    """Frames of the aligned scan between two frames of a window."""
    official = settings.temporal == "official"
    return official_stride(record.tr, settings.tr) if official else 1


def _why_no_rest(records: Sequence[ScanRecord], settings: WindowSettings) -> str:
    """Why no window of these scans leaves a rest of its length; empty if each does."""
    needed = 2 * settings.frames
    found = sum(aligned_frames(r, settings) // stride_of(r, settings) for r in records)
    if found >= needed:
        return ""
    return (
        f"expected two windows of {settings.frames * settings.tr:g} s apart from one another, as "
        "the model predicts one part of a person's scans from another, found "
        f"{found * settings.tr:g} s in {counted(len(records), 'usable scan')} of this person"
    )


def _why_no_volumes(record: ScanRecord, settings: WindowSettings, volumes: VolumesRead) -> str:
    """Why windows of volumes cannot be read of a scan; empty if they can."""
    if record.volumes is None:
        return (
            f"expected volumes ({volumes.grid}) beside the series, as the model reads them, found "
            "none; say prepare.volumes, and make the store in another folder (site prepare)"
        )
    if record.volumes.grid != volumes.grid:
        return (
            f"expected volumes of {volumes.grid}, as the model reads them, found "
            f"{record.volumes.grid}; prepare them of that size (prepare.volumes), or set "
            "model.volume and model.mm"
        )
    needed = volumes.windows * settings.frames * stride_of(record, settings)
    if volumes.windows > 1 and record.frames < needed:
        return (
            f"expected {volumes.windows} windows apart from one another in a scan, {needed} "
            f"frames, as the model compares them, found {record.frames} frames"
        )
    return ""


def _why_left_out(record: ScanRecord, rois: int, settings: WindowSettings, patch: int) -> str:
    """Why no window of a scan can be used; by its facts alone, which the store has judged."""
    live = rois - len(record.missing)
    try:
        frames = aligned_frames(record, settings)
    except ValueError as error:  # a TR in another unit
        return str(error)
    stride = stride_of(record, settings)
    valid = len(official_indices(frames, settings.frames, stride, 0)) if stride > 1 else frames
    return why_unusable(frames, live) or why_unusable(valid, live, patch)
