"""A site's scans as one folder: memory-mapped arrays, one line of facts a scan, nothing half.

::

    store.json       atlas name, ROI names, format
    scans.jsonl      one line a scan (`scan_table`)
    scans/*.npy      float32 [R, F] a scan, a row of NaN where the site lacks the ROI
    volumes/*.npy    float16 [F, X, Y, Z] a scan, where `prepare` was asked for them
    withdrawn.jsonl  who may not come back (`withdrawn`)

A scan exists once its line is complete. The array is written first, under a name of its content, so
that facts and array always belong together: a crash leaves at most a temporary file, an array that
no line names (`tidy` removes both) or a torn last line (not read, cut off by the next append).
Readers change nothing, so a store may be opened while an import adds to it. Writers take turns:
what another one has done is seen before a change is made.

Shapes: R ROIs, F frames of a scan, X, Y, Z voxels of a volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed_copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float32
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import (
    append_line,
    clear_leftovers,
    lone_writer,
    state_of_file,
)
from brainjepa_core.signals.storing.scan_arrays import (
    ARRAYS,
    WrittenVolumes,
    clear_unnamed,
    damaged,
    files_of,
    mapped_array,
    mapped_volumes,
    remove_files,
    require_scan,
    write_arrays,
)
from brainjepa_core.signals.storing.scan_table import (
    TABLE,
    Key,
    ScanRecord,
    array_digest,
    as_read,
    content_of,
    fingerprint_of,
    line_of,
    read_table,
    write_table,
)
from brainjepa_core.signals.storing.store_header import HEADER, read_header, write_header
from brainjepa_core.signals.storing.withdrawn import Fingerprint, WithdrawnPeople, WithdrawnPerson

LOCK = ".lock"
ANOTHER_SCAN = (
    "expected a scan that is not in the store yet, found another array or TR under the same "
    "subject, session and run; give it a run of its own, or build the store anew"
)


class ScanStore:
    """Scans of one site in one atlas; make one with `create` or `open`."""

    def __init__(self, path: Path, atlas: Atlas, records: tuple[ScanRecord, ...]) -> None:
        self.path = path
        self.atlas = atlas
        self._records = {record.key: record for record in records}
        self._seen = state_of_file(path / TABLE)
        self._writing = False

    @classmethod
    def create(cls, path: str | Path, atlas: Atlas) -> ScanStore:
        """Make an empty store, or open the one that is there if its atlas is the same.

        Raises
        ------
        ValueError
            If there is a store of another atlas.
        """
        path = Path(path)
        (path / ARRAYS).mkdir(parents=True, exist_ok=True)
        if not (path / HEADER).exists():
            with lone_writer(path / LOCK, "into the store", wait=True):
                if not (path / HEADER).exists():  # another one may have made it meanwhile
                    (path / TABLE).touch()
                    write_header(path, atlas)
        store = cls.open(path)
        if store.atlas.rois != atlas.rois:
            raise ValueError(
                f"expected a store of atlas '{atlas.name}' ({len(atlas)} ROIs), found one of "
                f"'{store.atlas.name}' ({len(store.atlas)} ROIs); use another folder"
            )
        return store

    @classmethod
    def open(cls, path: str | Path) -> ScanStore:
        """Open a store as it is now; a torn last line of a killed import is left out.

        Raises
        ------
        ValueError
            If the folder is no store, of another format, or its table is damaged.
        """
        path = Path(path)
        store = cls(path, read_header(path), ())
        store._read()
        return store

    @property
    def records(self) -> tuple[ScanRecord, ...]:
        """All scans, in the order they were added."""
        return tuple(self._records.values())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over atlas and scans, whatever their order; says nothing about either."""
        return fingerprint_of(self.atlas, self.records)

    @property
    def is_current(self) -> bool:
        """Whether the table on the disk is still the one that was read."""
        return state_of_file(self.path / TABLE) == self._seen

    def unlisted(self) -> ScanStore:
        """The same store without its table: `series` of records that are known is all it gives."""
        return ScanStore(self.path, self.atlas, ())

    @contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[None]:
        """Keep other writers out; what they did before is seen from here on.

        Every change does so for itself. Around many changes it makes one of them.

        Parameters
        ----------
        wait : bool
            For a writer that is at work; else it is an error that there is one.

        Raises
        ------
        BlockingIOError
            If another process writes into the store and `wait` is false.
        """
        if self._writing:
            yield
            return
        with lone_writer(self.path / LOCK, "into the store", wait=wait):
            self._writing = True
            try:
                if not self.is_current:
                    self._read()
                yield
            finally:
                self._writing = False

    def append(
        self,
        series: ArrayLike,
        *,
        subject: str,
        tr: float,
        session: str = "",
        run: str = "",
        qc: Mapping[str, float] | None = None,
        phenotypes: Mapping[str, Any] | None = None,
        volumes: WrittenVolumes | None = None,
        replace: bool = False,
    ) -> bool:
        """Add a scan; adding the same scan again does nothing, so an import can be repeated.

        Parameters
        ----------
        series : array [R, F]
            In atlas order; a row of NaN is a missing ROI. An ROI without a signal
            (`brainjepa_core.usable.live_rois`) is recorded as missing, too; its row is kept as it
            is.
        subject, session, run : str
        tr : float
            Seconds.
        qc, phenotypes : mapping, optional
        volumes : WrittenVolumes, optional
            One a frame. Their file gets its name here, where the scan is taken.
        replace : bool
            Put the scan in the place of another one of its name, and its facts in the place of
            others. Without it, another array or TR is refused, and other facts are not looked at.

        Returns
        -------
        bool
            Whether anything changed.

        Raises
        ------
        ValueError
            If the array does not fit the atlas or the volumes, has NaN among frames of an ROI,
            cannot be used (`brainjepa_core.usable.why_unusable`), or another scan of that name is
            there; a `WithdrawnPerson` if the subject has been taken out for good.
        """
        array = np.ascontiguousarray(series, np.float32)
        live = require_scan(array, volumes, self.atlas, subject, tr)
        record = ScanRecord(
            subject=subject,
            session=session,
            run=run,
            tr=float(tr),
            frames=array.shape[1],
            sha256=array_digest(array),
            missing=tuple(self.atlas.rois[i] for i in np.flatnonzero(~live)),
            qc=dict(qc or {}),
            phenotypes=dict(phenotypes or {}),
            volumes=None if volumes is None else volumes.facts,
        )
        line = line_of(record)
        with self.writing():
            if self.withdrawn.has(subject):
                raise WithdrawnPerson
            known = self._records.get(record.key)
            if known is not None:
                same = content_of(known) == content_of(record)
                if known == as_read(record) or (same and not replace):
                    return False
                if not replace:
                    raise ValueError(ANOTHER_SCAN)
            write_arrays(self.path, record, array, volumes)
            append_line(self.path / TABLE, line)
            self._seen = state_of_file(self.path / TABLE)
            self._records[record.key] = record
            if known is not None:
                remove_files(files_of(self.path, known) - files_of(self.path, record))
        return True

    def amend(self, records: Iterable[ScanRecord]) -> None:
        """Give scans other phenotypes and quality; arrays stay.

        Parameters
        ----------
        records : iterable of ScanRecord
            As they are to be. A scan that is not there any more, or of another array, is passed
            over: what is known of it is of another time.
        """
        with self.writing():
            known = self._records
            changed = {r.key: r for r in records}
            self._rewrite(
                {
                    key: changed_copy(old, phenotypes=new.phenotypes, qc=new.qc)
                    if (new := changed.get(key)) is not None and new.sha256 == old.sha256
                    else old
                    for key, old in known.items()
                }
            )

    def remove(self, keys: Iterable[Key]) -> int:
        """Take scans out, facts first, so that a kill leaves an array that nothing names.

        Parameters
        ----------
        keys : iterable of (subject, session, run)
            Those that are not there are passed over.

        Returns
        -------
        int
            How many were there.
        """
        with self.writing():
            gone = [self._records[key] for key in keys if key in self._records]
            if gone:
                names = {record.key for record in gone}
                self._rewrite({k: r for k, r in self._records.items() if k not in names})
            for record in gone:
                remove_files(files_of(self.path, record))
        return len(gone)

    @property
    def withdrawn(self) -> WithdrawnPeople:
        """People who may not come back into this store."""
        return WithdrawnPeople(self.path)

    def withdraw(self, people: Iterable[Fingerprint]) -> int:
        """Take people out for good: `append` refuses them from here on.

        Parameters
        ----------
        people : iterable of Fingerprint
            All who have withdrawn, those of before too.

        Returns
        -------
        int
            How many scans of theirs were there.
        """
        with self.writing():
            withdrawn = self.withdrawn.with_others(people)  # first: a kill lets nobody back in
            return self.remove([r.key for r in self.records if withdrawn.has(r.subject)])

    def tidy(self) -> None:
        """Remove what killed writers left: half-written files, arrays that no line names."""
        with self.writing():
            clear_leftovers(self.path)
            clear_unnamed(self.path, self.records)

    def _read(self) -> None:
        """Take up the table as it is now."""
        self._seen = state_of_file(self.path / TABLE)
        self._records = {record.key: record for record in read_table(self.path / TABLE)}

    def _rewrite(self, records: dict[Key, ScanRecord]) -> None:
        write_table(self.path / TABLE, records.values())
        self._seen = state_of_file(self.path / TABLE)
        self._records = dict(records)

    def series(self, record: ScanRecord) -> Float32:
        """Memory-mapped array [R, F] of a scan, read-only.

        Raises
        ------
        ValueError
            If the array is gone or cannot be read.
        """
        return mapped_array(self.path, record)

    def volumes(self, record: ScanRecord) -> NDArray[np.float16]:
        """Memory-mapped volumes [F, X, Y, Z] of a scan on `ScanRecord.volumes`' grid, read-only.

        Raises
        ------
        ValueError
            If the scan has none, or they are gone or cannot be read.
        """
        return mapped_volumes(self.path, record)

    def verify(self, looked_at: Callable[[], object] = lambda: None) -> list[ScanRecord]:
        """Scans with an array that is missing or differs from its checksum; reads everything."""
        return damaged(self.path, self.records, looked_at)
