"""Into a store from what sites already have: site archives (npz), folders of parcellated scans.

Everything is checked before it is stored, and a store takes the same scan twice without harm, so
that an import that was cut short can simply be repeated.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.atlas import Atlas
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
        If the archive is damaged or its parts do not fit one another.
    """
    parts = _read_archive(Path(archive))
    names = [str(name) for name in parts["roi"]]
    atlas = atlas or Atlas.from_names(names, name="ROIs of the archive")
    lengths = parts["lengths"]
    trs = np.broadcast_to(parts["tr"], lengths.shape)
    people = [str(person) for person in parts["participant_id"]]
    table = {} if participants is None else read_participants(participants)
    store = ScanStore.create(store_path, atlas)
    for series, person, tr in zip(
        np.split(parts["ts"], np.cumsum(lengths)[:-1]), people, trs, strict=True
    ):
        phenotypes = dict(table.get(person, {}))
        qc = {"mean_fd": phenotypes["mean_fd"]} if "mean_fd" in phenotypes else {}
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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise ValueError(
            f"expected a site archive (.npz with {', '.join(ARCHIVE_KEYS)}), found "
            f"{type(error).__name__}; export the archive again"
        ) from error
    if missing:
        raise ValueError(
            f"expected {', '.join(ARCHIVE_KEYS)} in the archive, found {', '.join(missing)} "
            "missing; add them"
        )
    ts, lengths, people = parts["ts"], parts["lengths"], parts["participant_id"]
    fits = (
        ts.ndim == 2
        and lengths.ndim == 1
        and np.issubdtype(lengths.dtype, np.integer)
        and np.issubdtype(ts.dtype, np.floating)
        and np.issubdtype(parts["tr"].dtype, np.number)
        and len(lengths) > 0
        and (lengths > 0).all()
        and int(lengths.sum()) == len(ts)
        and people.shape == lengths.shape
        and parts["roi"].shape == ts.shape[1:]
        and parts["tr"].shape in ((), (1,), lengths.shape)
    )
    if not fits:
        raise ValueError(
            "expected ts [sum of lengths, ROIs], one participant_id a length, a name a column and "
            f"a TR or one a scan, found ts {list(ts.shape)}, lengths {list(lengths.shape)} "
            f"participant_id {list(people.shape)}, roi {list(parts['roi'].shape)}, tr "
            f"{list(parts['tr'].shape)}; export the archive again"
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
    files = [p for p in files if p.resolve() != Path(names).resolve()]
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
        series = np.asarray(series, np.float64)
    except (OSError, ValueError, EOFError, TypeError) as error:
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
    with file.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.reader(stream, delimiter=delimiter)):
            if number == 0 and [cell.strip() for cell in row] == list(columns):
                continue
            yield [np.nan if cell.strip() in ("n/a", "") else float(cell) for cell in row]


def in_atlas_order(
    series: NDArray[np.floating], names: Sequence[str], atlas: Atlas
) -> NDArray[np.float32]:
    """Bring rows [any ROIs, F] to atlas order by name; ROIs that are not there become NaN."""
    rows = atlas.rows_of(names)
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
        If there is no column ``participant_id``, or someone is listed twice.
    """
    with Path(path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
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
        table[person] = {k: _value(v) for k, v in row.items() if k and v not in (None, "", "n/a")}
    return table


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
