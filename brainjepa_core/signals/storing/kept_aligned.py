"""Aligned scans on a site's disk: each scan is aligned once, and not anew for every message.

::

    PLACE/<settings>-<store>/room.json    bytes that the folder may take
    PLACE/<settings>-<store>/<scan>.f32   series, valid ROIs, checksum
    PLACE/<settings>-<store>/*            what is made of them all, such as their connectivity's sum

A file is named by its scan's content, a folder by all else that decides its files, and by the
store. Only a store as it is on the disk gets a folder. Once it has changed, its folders are renamed
and lose what the store does not hold any more; a process that knows the old name finds nothing
there, and can put nothing there. So what left the store is nowhere, whoever was at work meanwhile.

Shapes: R ROIs, F frames of an aligned scan.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32
from brainjepa_core.files import atomic_path, lone_writer
from brainjepa_core.origin import digest
from brainjepa_core.signals.scaling import RobustScale
from brainjepa_core.signals.storing.scan_table import ScanRecord
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.version import VERSION, installed

Mask = NDArray[np.bool_]
ALIGNED = "aligned"  # folder of a site's state
ARITHMETIC = 1  # raised when the same scan is aligned to other numbers
ROOM, LOCK, CHANGING = "room.json", ".lock", "changing"
CHECKSUM = 4  # bytes
_FOLDER = re.compile(r"([0-9a-f]{32})-([0-9a-f]{32}|changing)")


@dataclass(frozen=True)
class KeptScans:
    """The aligned scans of one store under one kind of settings, on disk.

    Attributes
    ----------
    folder : Path
        It is not made here: without it nothing is kept.
    names : frozenset of str, optional
        Of the files that there is room for; all by default.
    """

    folder: Path
    names: frozenset[str] | None = None

    def read(self, record: ScanRecord, rois: int, frames: int) -> tuple[Float32, Mask] | None:
        """Series [R, F] and valid ROIs [R] of a scan; None where they are missing or damaged."""
        size = _bytes_of(rois, frames)
        try:
            content = np.fromfile(self.folder / _name(record), np.uint8)
        except OSError:
            return None
        told = content[-CHECKSUM:].tobytes()
        if content.size != size or _checksum(content[:-CHECKSUM].data) != told:
            return None
        series = content[: 4 * rois * frames].view(np.float32).reshape(rois, frames)
        return series, content[4 * rois * frames : -CHECKSUM].view(np.bool_)

    def write(self, record: ScanRecord, series: Float32, valid: Mask) -> None:
        """Keep a scan, if there is room.

        Its checksum stands in for waiting for the disk, which would take longer than aligning.
        """
        name = _name(record)
        if self.names is None or name in self.names:
            content = series.tobytes() + valid.tobytes()
            self.put(name, content + _checksum(content))

    def put(self, name: str, content: bytes) -> None:
        """Write a file that is made of these scans, and goes when one of them does.

        Without a word if it cannot be written: it is made anew where it is missing.
        """
        temporary = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.tmp"
        with suppress(OSError):  # renamed or removed meanwhile, or a full disk
            try:
                temporary.write_bytes(content)
                os.replace(temporary, self.folder / name)
            finally:
                temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class KeptAligned:
    """Where a site keeps its aligned scans, and how many bytes they may take together.

    Attributes
    ----------
    place : Path
        A folder of its own.
    limit : int
        Bytes.
    """

    place: Path
    limit: int

    def of(
        self,
        store: ScanStore,
        settings: WindowSettings,
        scale: RobustScale | None,
        scans: Sequence[tuple[ScanRecord, int]],
    ) -> KeptScans | None:
        """The folder of a store under some settings; None where nothing may be kept.

        Folders that were not used for longest make room for it, and so do scans in it that are not
        among these. Nothing is kept either if somebody removes all of it meanwhile.

        Parameters
        ----------
        store : ScanStore
        settings : WindowSettings
        scale : RobustScale, optional
            That its scans are brought to.
        scans : sequence of (ScanRecord, int)
            Those that will be read, with their aligned frames; the first of them are kept where
            there is no room for all.
        """
        sizes = [_bytes_of(len(store.atlas), frames) for _, frames in scans]
        room = min(sum(sizes), self.limit)
        fitting = int(np.searchsorted(np.cumsum(sizes), room, side="right"))
        names = frozenset(_name(record) for record, _ in scans[:fitting])
        self.place.mkdir(parents=True, exist_ok=True)
        with (
            suppress(FileNotFoundError),
            lone_writer(self.place / LOCK, "aligned scans into", wait=True),
        ):
            if not store.is_current:
                return None
            key = _store_key(store)
            _follow(self.place, store, key)
            folder = self.place / f"{_settings_key(store, settings, scale)}-{key}"
            _make_room(self.place, folder, self.limit - room)
            folder.mkdir(exist_ok=True)
            _note_room(folder, room)
            for path in folder.glob("*.f32"):
                if path.name not in names:
                    path.unlink(missing_ok=True)
            return KeptScans(folder, None if fitting == len(scans) else names)
        return None


def forget_removed(place: Path, store: ScanStore) -> None:
    """Remove aligned scans of a place that the store does not hold any more, if it ever did.

    Asked by whoever takes scans out of a store, once they are.
    """
    with (
        suppress(FileNotFoundError),  # nothing is kept, or all of it was removed meanwhile
        lone_writer(place / LOCK, "aligned scans into", wait=True),
    ):
        _follow(place, store, _store_key(store))


def _follow(place: Path, store: ScanStore, key: str) -> None:
    """Rename folders of the store as it was, and remove from them what it has no more."""
    stale = [
        (folder, settings) for folder, settings, of_store in _folders(place) if of_store != key
    ]
    names = frozenset(_name(record) for record in store.records if stale)
    for folder, settings in stale:
        with suppress(FileNotFoundError):  # somebody removed it
            changing = _set_aside(folder)  # what a kill leaves is taken up here again
            _remove_all_but(changing, names)
            final = place / f"{settings}-{key}"
            if final.exists():
                shutil.rmtree(changing)
            else:
                changing.rename(final)


def _set_aside(folder: Path) -> Path:
    """A folder under a name by which nobody writes into it any more."""
    changing = folder.with_name(f"{folder.name.partition('-')[0]}-{CHANGING}")
    if folder != changing:
        shutil.rmtree(changing, ignore_errors=True)
        folder.rename(changing)
    return changing


def _make_room(place: Path, own: Path, left: int) -> None:
    """Remove the other folders that were not used for longest, until the rest take `left` bytes."""
    others = [folder for folder, _, _ in _folders(place) if folder != own]
    rooms = {folder: _room_of(folder) for folder in others}
    for folder in sorted(others, key=_last_use):
        if sum(rooms.values()) <= left:
            return
        shutil.rmtree(_set_aside(folder))
        del rooms[folder]


def _note_room(folder: Path, room: int) -> None:
    """Write down how many bytes a folder may take, and when it was used."""
    if (folder / ROOM).exists() and _room_of(folder) == room:
        os.utime(folder / ROOM)
        return
    with atomic_path(folder / ROOM) as temporary:
        temporary.write_text(json.dumps({"bytes": room}) + "\n")


def _room_of(folder: Path) -> int:
    """Bytes that a folder may take; what it takes, where it does not say."""
    try:
        return int(json.loads((folder / ROOM).read_text())["bytes"])
    except (OSError, ValueError, TypeError, KeyError):
        return sum(path.stat().st_size for path in folder.iterdir())


def _last_use(folder: Path) -> int:
    room = folder / ROOM
    return room.stat().st_mtime_ns if room.exists() else 0


def _folders(place: Path) -> Iterator[tuple[Path, str, str]]:
    """Folders of aligned scans with what they are named by: settings and store."""
    for path in sorted(place.iterdir()):
        named = _FOLDER.fullmatch(path.name)
        if named:
            yield path, named[1], named[2]


def _remove_all_but(folder: Path, names: Iterable[str]) -> None:
    """Leave these scans alone in a folder: no sum over others, nothing half-written."""
    kept = {ROOM, *names}
    for path in list(folder.iterdir()):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _settings_key(store: ScanStore, settings: WindowSettings, scale: RobustScale | None) -> str:
    """Of all that aligned scans are a function of, beside the scans: one key for every model."""
    of_site = None if scale is None else [scale.median.tolist(), scale.iqr.tolist()]
    code = [ARITHMETIC, VERSION, installed("numpy"), installed("scipy")]
    facts = [settings.temporal, settings.tr, settings.scaling, of_site, store.atlas.fingerprint]
    return digest([code, facts])[:32]


def _store_key(store: ScanStore) -> str:
    return store.fingerprint[:32]


def _name(record: ScanRecord) -> str:
    """Of a file: says nothing of the person."""
    return hashlib.sha256(f"{record.sha256} {record.tr!r}".encode()).hexdigest()[:32] + ".f32"


def _bytes_of(rois: int, frames: int) -> int:
    return 4 * rois * frames + rois + CHECKSUM


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM, "little")
