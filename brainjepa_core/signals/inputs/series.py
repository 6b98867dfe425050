"""Folders of parcellated scans in tables and arrays, with a list of ROI names.

File names give subject, session and run where they follow BIDS, else the whole stem is the subject.
A file may hold several scans (see `tables.array_files`), or be a site archive.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.inputs import archive
from brainjepa_core.signals.inputs.bids import (
    NOT_ENTITIES,
    OF_THE_FILE,
    repetition_time,
    without_copies,
)
from brainjepa_core.signals.inputs.parcellated import composed, header_of, raw_scan, walk
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.array_files import Part
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names
from brainjepa_core.signals.tables.series_files import (
    bids_entities,
    ending,
    read_series,
    refusal,
    scans_in,
    series_shape,
)
from brainjepa_core.signals.tables.site_archive import is_site_archive

# Tables that lie among scans and are none.
OF_PEOPLE = ("participants", "sessions", "scans", "phenotype")
BESIDE = (*OF_PEOPLE, "events", "motion", "outliers", "design", "coverage", "relmat", "regressors")


@dataclass(frozen=True)
class SeriesScan(FoundScan):
    """One scan of a series file.

    Attributes
    ----------
    part : Part
        Which of the file's scans.
    columns : tuple of str
        ROI names of its columns, where the file has none of its own.
    atlas : Atlas
    told_tr : float, optional
        The site's word on the repetition time in seconds.
    """

    part: Part
    columns: tuple[str, ...]
    atlas: Atlas
    told_tr: float | None = None

    def check(self) -> ScanHeader:
        """Number of frames by the header or the count of lines, and the repetition time."""
        file = self.files[0]
        frames, _ = series_shape(file, self.columns, self.part)
        sidecar = file.with_name(_stem(file) + ".json")
        header = float("nan") if self.part.tr is None else self.part.tr
        return header_of(file, frames, repetition_time(file, header, sidecar, self.told_tr))

    def read(self) -> RawScan:
        """The series in atlas order."""
        file = self.files[0]
        tr = self.check().tr
        series = read_series(file, self.columns, self.part)
        return raw_scan(file, in_atlas_order(series.T, self.columns, self.atlas), self.atlas, tr)


def find(
    settings: InputSettings, atlas: Atlas
) -> tuple[list[SeriesScan | archive.ArchiveScan], list[ScanProblem]]:
    """Scans of a folder by key, and what keeps others out; array files are opened, tables not.

    Raises
    ------
    ScanProblem
        If the names cannot be used, a problem of every scan.
    """
    assert settings.names is not None
    columns = _read_names(settings.names, atlas)
    listed = settings.names.resolve()
    files, problems = walk(
        settings.folder, lambda file: _is_series(file) and file.resolve() != listed
    )
    scans: list[SeriesScan | archive.ArchiveScan] = []
    for file in files:
        try:
            if is_site_archive(file):
                scans += archive.scans_of(file, atlas, settings.tr)
                continue
            for part in scans_in(file):
                key, task = _key(file, part)
                if settings.task in (None, task):
                    scans.append(SeriesScan(*key, (file,), part, columns, atlas, settings.tr))
        except ScanProblem as problem:
            problems.append(problem)
    single, copies = without_copies(sorted(scans, key=lambda scan: scan.key))
    return single, problems + copies


def _read_names(file: Path, atlas: Atlas) -> tuple[str, ...]:
    """ROI names, one a line, that are the atlas' or mean its ROIs."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScanProblem(
            file, "ROI names in UTF-8, one a line", type(error).__name__, "save it as UTF-8 text"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    try:
        Atlas.from_names(names)
        atlas.rows_of(to_atlas_names(names, atlas))
    except ValueError as error:
        raise refusal(file, error) from error
    return names


def _stem(file: Path) -> str:
    return file.name.removesuffix(ending(file))


def _is_series(file: Path) -> bool:
    if not ending(file) or file.parent.name == "phenotype":
        return False
    stem = _stem(file)
    entities = bids_entities(stem)
    if "sub" not in entities:
        return stem not in OF_PEOPLE
    measure = entities.get("stat", "mean") == "mean" and entities.get("desc") != "confounds"
    return measure and stem.split("_")[-1] not in BESIDE


def _key(file: Path, part: Part) -> tuple[tuple[str, str, str], str | None]:
    """Subject, session and run, and the task among them."""
    outer = bids_entities(composed(_stem(file)))
    name = composed(part.name).replace("/", "_")
    inner = bids_entities(name)
    entities = {**outer, **inner}
    run = [f"{k}-{v}" for k, v in entities.items() if k not in OF_THE_FILE | NOT_ENTITIES]
    if "sub" in entities:
        subject = f"sub-{entities['sub']}"
        run += [name] if name and not inner else []
    else:
        subject = name or composed(_stem(file))
        run = run if name else []
    return (subject, entities.get("ses", ""), "_".join(run)), entities.get("task")
