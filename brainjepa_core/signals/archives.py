"""Into a store from what sites already have: site archives (npz), folders of parcellated scans.

Everything is checked before it is stored, and a store takes the same scan twice without harm, so
that an import that was cut short can simply be repeated.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.atlas import Atlas, to_17network_names
from brainjepa_core.signals.store import ScanStore

ARCHIVE_KEYS = ("ts", "lengths", "participant_id", "tr", "roi")
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
    parts = _read_archive(Path(archive))
    names = parts["roi"].tolist()
    atlas = atlas or Atlas.from_names(names, name="ROIs of the archive")
    lengths = parts["lengths"]
    trs = np.broadcast_to(parts["tr"], lengths.shape)
    people = parts["participant_id"].tolist()
    table = {} if participants is None else read_participants(participants)
    store = ScanStore.create(store_path, atlas)
    for series, person, tr in zip(
        np.split(parts["ts"], np.cumsum(lengths)[:-1]), people, trs, strict=True
    ):
        phenotypes = dict(table.get(person, {}))
        motion = phenotypes.get("mean_fd")
        qc = {"mean_fd": motion} if isinstance(motion, float) else {}
        store.append(
            in_atlas_order(series.T, names, atlas),
            subject=person,
            tr=float(tr),
            qc=qc,
            phenotypes=phenotypes,
        )
    return store


def _read_archive(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ARCHIVE_KEYS if key not in archive]
            parts = {key: archive[key] for key in ARCHIVE_KEYS if key not in missing}
        names = {key: parts[key].astype(str) for key in {"participant_id", "roi"} & parts.keys()}
    except Exception as error:  # damage surfaces as zlib's, zipfile's, numpy's or Python's errors
        raise ValueError(
            f"expected a site archive (.npz with {', '.join(ARCHIVE_KEYS)}), found "
            f"{type(error).__name__}; export the archive again"
        ) from error
    if missing:
        raise ValueError(
            f"expected {', '.join(ARCHIVE_KEYS)} in the archive, found {', '.join(missing)} "
            "missing; add them"
        )
    parts.update(names)
    ts, lengths, people, tr = (parts[key] for key in ARCHIVE_KEYS[:4])
    fits = (
        ts.ndim == 2
        and lengths.ndim == 1
        and np.issubdtype(lengths.dtype, np.integer)
        and np.issubdtype(ts.dtype, np.floating)
        and tr.dtype.kind in "fiu"
        and len(lengths) > 0
        and (lengths > 0).all()
        and sum(lengths.tolist()) == len(ts)
        and people.shape == lengths.shape
        and parts["roi"].shape == ts.shape[1:]
        and tr.shape in ((), (1,), lengths.shape)
    )
    if not fits:
        raise ValueError(
            "expected ts [sum of lengths, ROIs], one participant_id a length, a name a column and "
            f"a TR or one a scan, found ts {list(ts.shape)}, lengths {list(lengths.shape)}, "
            f"participant_id {list(people.shape)}, roi {list(parts['roi'].shape)}, tr "
            f"{list(tr.shape)}; export the archive again"
        )
    if len(set(people.tolist())) < len(people) or not (np.isfinite(tr) & (tr > 0)).all():
        raise ValueError(
            "expected each participant once and TRs in seconds above 0, found "
            f"{len(people) - len(set(people.tolist()))} repeated participants and TRs from "
            f"{tr.min():g} to {tr.max():g}; write one archive a session, and give the scanner's TR"
        )
    return parts


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


def read_series(file: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """Frames x ROIs [F, R] of one file; a header line with the ROI names may lead a table."""
    try:
        if file.suffix == ".npy":
            series = np.load(file, allow_pickle=False)
        else:
            delimiter = "\t" if file.suffix == ".tsv" else ","
            rows = list(_table_rows(file, delimiter, columns))
            series = np.array(rows, np.float64)
        series = series.astype(np.float64, casting="same_kind")
    except Exception as error:  # damage surfaces as csv's, numpy's or Python's errors
        raise ValueError(
            f"{file.name}: expected numbers, one row a frame, found {type(error).__name__}; "
            "write the file again (n/a for a missing ROI)"
        ) from error
    if series.ndim != 2 or series.shape[1] != len(columns):
        raise ValueError(
            f"{file.name}: expected {len(columns)} columns, one a name, found shape "
            f"{list(series.shape)}; check that the names file belongs to these scans"
        )
    return series


def _table_rows(file: Path, delimiter: str, columns: Sequence[str]) -> Iterator[list[float]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.reader(stream, delimiter=delimiter)):
            if not row or (number == 0 and [cell.strip() for cell in row] == list(columns)):
                continue
            yield [np.nan if cell.strip() in ("n/a", "") else float(cell) for cell in row]


def in_atlas_order(
    series: NDArray[np.floating], names: Sequence[str], atlas: Atlas
) -> NDArray[np.float32]:
    """Bring rows [any ROIs, F] to atlas order by name; ROIs that are not there become NaN.

    Parcels under their 7-network names are found in an atlas that has their 17-network names.
    """
    own = set(atlas.rois)
    pairs = zip(names, to_17network_names(names), strict=True)
    rows = atlas.rows_of([old if old in own else new for old, new in pairs])
    ordered = np.asarray(series, np.float32)[rows]
    ordered[rows < 0] = np.nan
    return ordered


def bids_entities(stem: str) -> dict[str, str]:
    """Entities of a BIDS file name: ``sub-01_task-rest_bold`` -> {"sub": "01", "task": "rest"}."""
    pairs = (part.split("-", 1) for part in stem.split("_") if "-" in part)
    return {key: value for key, value in pairs if key and value}


def read_participants(path: str | Path) -> dict[str, dict[str, Any]]:
    """Columns of a BIDS ``participants.tsv`` by participant; numbers as numbers, n/a left out.

    Raises
    ------
    ValueError
        If it is no table, there is no column ``participant_id``, or someone is listed twice.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"expected a tab-separated table in UTF-8, found {type(error).__name__}; "
            "give a BIDS participants.tsv"
        ) from error
    if not rows or "participant_id" not in rows[0]:
        raise ValueError(
            "expected a tab-separated table with a column participant_id, found columns "
            f"{list(rows[0]) if rows else []}; give a BIDS participants.tsv"
        )
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        person = row.pop("participant_id")
        if person in table:
            raise ValueError(
                "expected each participant once, found one listed twice in participants.tsv; "
                "keep one row a participant"
            )
        known = {k: v for k, v in row.items() if k and v and v.lower() not in ("n/a", "nan")}
        table[person] = {k: _value(v) for k, v in known.items()}
    return table


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
