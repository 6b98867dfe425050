"""Into a store from what sites already have: site archives (npz), folders of parcellated scans.

Scans are found, checked and read as the input kinds ``archive`` and ``series`` of `prepare` do it;
they are stored as they are. A store takes the same scan twice without harm, so that an import that
was cut short can simply be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import counted
from brainjepa_core.signals.importing.made_from import (
    content_digest,
    note_import,
    require_imported,
)
from brainjepa_core.signals.inputs import archive as archives
from brainjepa_core.signals.inputs import series
from brainjepa_core.signals.inputs.passed_over import in_words
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.storing.vectors import keep_people_of
from brainjepa_core.signals.storing.withdrawn import WithdrawnPerson
from brainjepa_core.signals.tables.phenotypes import Phenotypes, read_phenotypes, told_displacement
from brainjepa_core.signals.tables.series_files import SERIES_ENDINGS, Time, refusal
from brainjepa_core.signals.tables.site_archive import read_site_archive
from brainjepa_core.usable import UnusableScan

Say = Callable[[str], object]


def import_site_archive(
    archive: str | Path,
    store_path: str | Path,
    participants: str | Path | None = None,
    atlas: Atlas | None = None,
    say: Say = lambda _: None,
    missing: Sequence[float | str] = (),
) -> ScanStore:
    """Import one site's archive.

    Parameters
    ----------
    archive : path
        ``.npz`` with ``ts`` [sum of lengths, ROIs] (scans below one another), ``lengths`` (frames
        of each scan), ``participant_id``, ``tr`` (seconds, one or one a scan) and ``roi`` (names).
    store_path : path
    participants : path, optional
        BIDS ``participants.tsv``; its columns become phenotypes, by its JSON if there is one.
    atlas : Atlas, optional
        Order of the store, by name; that of the archive by default. ROIs that the archive lacks
        are stored as missing.
    say : callable
        Told, in a sentence each, which scans cannot be used and are left out, and how many people
        have no row or no scan. The sentences name people: they are for the site's own eyes.
    missing : sequence
        What stands for "not known" in the table of participants beside n/a and the like.

    Returns
    -------
    ScanStore

    Raises
    ------
    ValueError
        If the archive is damaged or its parts do not fit one another: nothing is stored then. Or
        if a scan is damaged: those before it are in the store, and the import can be repeated.
    """
    file = Path(archive)
    if atlas is None:
        try:
            atlas = Atlas.from_names(read_site_archive(file).names, name="ROIs of the archive")
        except ValueError as error:
            raise refusal(file, error) from error
    return _store(
        archives.scans_of(file, atlas, None), store_path, participants, atlas, say, missing
    )


def import_directory(
    folder: str | Path,
    names: str | Path,
    store_path: str | Path,
    tr: float,
    participants: str | Path | None = None,
    atlas: Atlas | None = None,
    say: Say = lambda _: None,
    time: Time | None = None,
    missing: Sequence[float | str] = (),
) -> ScanStore:
    """Import a folder of parcellated scans, in any of the forms of `signals.inputs.series`.

    Parameters
    ----------
    folder : path
        File names give subject, session and run where they follow BIDS
        (``sub-01_ses-2_task-rest_run-1_....tsv``), else the whole stem is the subject.
    names : path
        Text file with one ROI name a line, in the order of columns.
    store_path : path
    tr : float
        Seconds, of all scans.
    participants, atlas, say, missing
        As in `import_site_archive`; also told how many files are passed over.
    time : {"rows", "columns"}, optional
        What the frames are, where a file has as many frames as ROIs and no names.

    Raises
    ------
    ValueError
        Naming the file, if one cannot be read or does not have one column an ROI. Scans read
        before it are in the store; repeat the import once the file is mended.
    """
    columns = series.read_names(Path(names))
    atlas = atlas or Atlas.from_names(columns, name=Path(names).stem)
    beside = {Path(path).resolve() for path in (names, participants) if path is not None}
    found = series.scans_of(Path(folder), columns, atlas, tr, beside, time)
    if found.problems:
        raise found.problems[0]
    for note in in_words(found.passed_over):
        say(note)
    if not found.scans:
        raise ValueError(
            f"expected scans ending in {', '.join(SERIES_ENDINGS)}, found none in '{folder}'; "
            "give the folder that holds them"
        )
    return _store([scan for scan, _ in found.scans], store_path, participants, atlas, say, missing)


def _store(
    scans: Sequence[FoundScan],
    store_path: str | Path,
    participants: str | Path | None,
    atlas: Atlas,
    say: Say,
    missing: Sequence[float | str],
) -> ScanStore:
    """Read scan after scan into a store, with what is known of its person."""
    require_imported(Path(store_path))
    known = Phenotypes() if participants is None else read_phenotypes([participants], missing)
    phenotypes = known.joined((scan.subject, scan.session) for scan in scans)
    store = None
    unusable, withdrawn = [], set()
    with ExitStack() as held:
        for scan in scans:
            try:
                raw = scan.read()
                # Made once a scan was read, which shows damage of an archive: nothing is left then.
                if store is None:
                    store = ScanStore.create(store_path, atlas)
                    held.enter_context(store.writing(wait=False))
                    store.tidy()
                _take_in(store, scan, raw, phenotypes.of(scan.subject, scan.session))
            except UnusableScan as reason:
                unusable.append(scan.key)
                say(f"left out {' '.join(filter(None, scan.key))}: {reason}")
            except WithdrawnPerson:
                withdrawn.add(scan.subject)
            except ScanProblem:
                raise
            except ValueError as error:
                raise refusal(scan.files[0], error) from error
        store = store or ScanStore.create(store_path, atlas)
        store.remove(unusable)  # earlier forms of them may be there
        keep_people_of(store)
        files = {file for scan in scans for file in scan.files}
        told = None if participants is None else content_digest([Path(participants)])
        note_import(store.path, {"scans": content_digest(files), "participants": told})
    for note in (*phenotypes.notes(), *_no_longer_there(store, scans, len(withdrawn))):
        say(note)
    return store


def _take_in(store: ScanStore, scan: FoundScan, raw: RawScan, row: dict[str, Any]) -> None:
    """Put a scan into the store, in the place of an earlier form of it."""
    motion = told_displacement(row)
    store.append(
        raw.series,
        subject=scan.subject,
        session=scan.session,
        run=scan.run,
        tr=raw.tr,
        qc={} if motion is None else {"mean_fd": motion},
        phenotypes=row,
        replace=True,
    )


def _no_longer_there(store: ScanStore, scans: Sequence[FoundScan], withdrawn: int) -> list[str]:
    """Sentences on what the store has beyond the import, and the import beyond the store."""
    notes = []
    if withdrawn:
        many = f"{withdrawn} people who were removed (site remove) are left out"
        one = "1 person who was removed (site remove) is left out"
        notes.append(one if withdrawn == 1 else many)
    here = {scan.key for scan in scans}
    gone = [record for record in store.records if record.key not in here]
    if gone:
        notes.append(
            f"{counted(len(gone), 'scan')} of "
            f"{counted(len({r.subject for r in gone}), 'person', 'people')} in the store not in "
            f"what was imported, such as {' '.join(filter(None, gone[0].key))}; import into a new "
            "folder to be without"
        )
    return notes
