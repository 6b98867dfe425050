"""Into a store from what sites already have: site archives (npz), folders of parcellated scans.

Scans are found, checked and read as the input kinds ``archive`` and ``series`` of `prepare` do it;
they are stored as they are. A store takes the same scan twice without harm, so that an import that
was cut short can simply be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import counted
from brainjepa_core.signals.inputs import archive as archives
from brainjepa_core.signals.inputs import series
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.tables.phenotypes import Phenotypes, read_phenotypes, told_displacement
from brainjepa_core.signals.tables.series_files import SERIES_ENDINGS, refusal
from brainjepa_core.signals.tables.site_archive import read_site_archive
from brainjepa_core.usable import UnusableScan

Say = Callable[[str], object]


def import_site_archive(
    archive: str | Path,
    store_path: str | Path,
    participants: str | Path | None = None,
    atlas: Atlas | None = None,
    say: Say = lambda _: None,
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
    return _store(archives.scans_of(file, atlas, None), store_path, participants, atlas, say)


def import_directory(
    folder: str | Path,
    names: str | Path,
    store_path: str | Path,
    tr: float,
    participants: str | Path | None = None,
    atlas: Atlas | None = None,
    say: Say = lambda _: None,
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
    participants, atlas, say
        As in `import_site_archive`.

    Raises
    ------
    ValueError
        Naming the file, if one cannot be read or does not have one column an ROI. Scans read
        before it are in the store; repeat the import once the file is mended.
    """
    columns = series.read_names(Path(names))
    atlas = atlas or Atlas.from_names(columns, name=Path(names).stem)
    beside = {Path(path).resolve() for path in (names, participants) if path is not None}
    found, problems = series.scans_of(Path(folder), columns, atlas, tr, beside)
    if problems:
        raise problems[0]
    if not found:
        raise ValueError(
            f"expected scans ending in {', '.join(SERIES_ENDINGS)}, found none in '{folder}'; "
            "give the folder that holds them"
        )
    return _store([scan for scan, _ in found], store_path, participants, atlas, say)


def _store(
    scans: Sequence[FoundScan],
    store_path: str | Path,
    participants: str | Path | None,
    atlas: Atlas,
    say: Say,
) -> ScanStore:
    """Read scan after scan into a store, with what is known of its person."""
    known = Phenotypes() if participants is None else read_phenotypes([participants])
    phenotypes = known.joined((scan.subject, scan.session) for scan in scans)
    store = None
    for scan in scans:
        try:
            raw = scan.read()
            # Made once a scan was read, which shows damage of an archive: nothing is left then.
            store = store or ScanStore.create(store_path, atlas)
            row = phenotypes.of(scan.subject, scan.session)
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
        except UnusableScan as reason:
            name = " ".join(filter(None, scan.key))
            say(f"left out {name}: {reason}")
        except ScanProblem:
            raise
        except ValueError as error:
            raise refusal(scan.files[0], error) from error
    for note in phenotypes.notes():
        say(note)
    here = {scan.subject for scan in scans}
    gone = sorted({r.subject for r in store.records} - here) if store is not None else []
    if gone:
        say(
            f"{counted(len(gone), 'person in the store is', 'people in the store are')} not in "
            f"what was imported, such as {gone[0]}; "
            "import into a new folder to be without them"
        )
    return store or ScanStore.create(store_path, atlas)
