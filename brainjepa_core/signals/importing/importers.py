"""Into a store from what sites already have: site archives (npz), folders of parcellated scans.

Everything is checked before it is stored, and a store takes the same scan twice without harm, so
that an import that was cut short can simply be repeated.
"""

from __future__ import annotations

from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.store import ScanStore
from brainjepa_core.signals.tables.phenotypes import read_participants
from brainjepa_core.signals.tables.roi_names import in_atlas_order
from brainjepa_core.signals.tables.series_files import bids_entities, read_series
from brainjepa_core.signals.tables.site_archive import read_site_archive

SERIES_ENDINGS = (".tsv", ".csv", ".npy")


def import_site_archive(
    archive: str | Path,
    store_path: str | Path,
    participants: str | Path | None = None,
    atlas: Atlas | None = None,
) -> ScanStore:
    """Import one site's archive.

    Parameters
    ----------
    archive : path
        ``.npz`` with ``ts`` [sum of lengths, ROIs] (scans below one another), ``lengths`` (frames
        of each scan), ``participant_id``, ``tr`` (seconds, one or one a scan) and ``roi`` (names).
    store_path : path
    participants : path, optional
        BIDS ``participants.tsv``; its columns become phenotypes.
    atlas : Atlas, optional
        Order of the store, by name; that of the archive by default. ROIs that the archive lacks
        are stored as missing.

    Returns
    -------
    ScanStore

    Raises
    ------
    ValueError
        If the archive is damaged or its parts do not fit one another: nothing is stored then. Or
        if a scan cannot be trained on: those before it are in the store, and the import can be
        repeated.
    """
    site = read_site_archive(Path(archive))
    series = [site.series(place) for place in range(len(site.people))]  # damage shows before
    atlas = atlas or Atlas.from_names(site.names, name="ROIs of the archive")
    table = {} if participants is None else read_participants(participants)
    store = ScanStore.create(store_path, atlas)
    for scan, person, tr in zip(series, site.people, site.trs, strict=True):
        phenotypes = dict(table.get(person, {}))
        motion = phenotypes.get("mean_fd")
        qc = {"mean_fd": motion} if isinstance(motion, float) else {}
        store.append(
            in_atlas_order(scan, site.names, atlas),
            subject=person,
            tr=tr,
            qc=qc,
            phenotypes=phenotypes,
        )
    return store


def import_directory(
    folder: str | Path,
    names: str | Path,
    store_path: str | Path,
    tr: float,
    participants: str | Path | None = None,
    atlas: Atlas | None = None,
) -> ScanStore:
    """Import a folder of parcellated scans: one TSV, CSV or NPY of [frames, ROIs] a scan.

    Parameters
    ----------
    folder : path
        File names give subject, session and run where they follow BIDS
        (``sub-01_ses-2_run-1_....tsv``), else the whole stem is the subject.
    names : path
        Text file with one ROI name a line, in the order of columns.
    store_path : path
    tr : float
        Seconds, of all scans.
    participants, atlas
        As in `import_site_archive`.

    Raises
    ------
    ValueError
        Naming the file, if one cannot be read or does not have one column an ROI. Scans read
        before it are in the store; repeat the import once the file is mended.
    """
    lines = Path(names).read_text(encoding="utf-8").splitlines()
    columns = [line.strip() for line in lines if line.strip()]
    atlas = atlas or Atlas.from_names(columns, name=Path(names).stem)
    files = sorted(p for p in Path(folder).iterdir() if p.suffix in SERIES_ENDINGS)
    tables = {Path(path).resolve() for path in (names, participants) if path is not None}
    files = [p for p in files if p.resolve() not in tables]
    if not files:
        raise ValueError(
            f"expected scans ending in {', '.join(SERIES_ENDINGS)}, found none in the folder; "
            "give the folder that holds them directly"
        )
    table = {} if participants is None else read_participants(participants)
    store = ScanStore.create(store_path, atlas)
    for file in files:
        entities = bids_entities(file.stem)
        subject = f"sub-{entities['sub']}" if "sub" in entities else file.stem
        series = read_series(file, columns)
        try:
            store.append(
                in_atlas_order(series.T, columns, atlas),
                subject=subject,
                session=entities.get("ses", ""),
                run=entities.get("run", ""),
                tr=tr,
                phenotypes=table.get(subject, {}),
            )
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    return store
