"""Folders of parcellated scans in tables and arrays, with a list of ROI names.

File names give subject, session and run where they follow BIDS, else the whole stem is the subject.
A file may hold several scans (see `tables.array_files`), or be a site archive.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import plainly
from brainjepa_core.signals.inputs import archive
from brainjepa_core.signals.inputs.bids import repetition_time, without_copies
from brainjepa_core.signals.inputs.parcellated import header_of, raw_scan, walk
from brainjepa_core.signals.inputs.passed_over import PassedOver
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.array_files import Part
from brainjepa_core.signals.tables.bids_names import (
    NOT_ENTITIES,
    Key,
    bids_entities,
    composed,
    run_of,
)
from brainjepa_core.signals.tables.labels import visit_of
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names
from brainjepa_core.signals.tables.series_files import (
    Time,
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
NO_SERIES = "tables that are no series by their names"
# What nobody would take for a scan.
TEXTS = ("readme", "license", "changes", "authors", "makefile")
PAGES = (".json", ".md", ".rst", ".html", ".css", ".js", ".pdf", ".log", ".yaml", ".yml", ".bib")
PICTURES = (".svg", ".png", ".jpg", ".jpeg", ".gif")
PROGRAMS = (".py", ".m", ".r", ".sh", ".ipynb", ".toml")


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
    time : {"rows", "columns"}, optional
        The site's word on what frames are in its files.
    """

    part: Part
    columns: tuple[str, ...]
    atlas: Atlas
    told_tr: float | None = None
    time: Time | None = None

    def check(self) -> ScanHeader:
        """Number of frames by the header or the count of lines, and the repetition time."""
        file = self.files[0]
        frames, _ = series_shape(file, self.columns, self.part, self.time)
        sidecar = file.with_name(_stem(file) + ".json")
        header = float("nan") if self.part.tr is None else self.part.tr
        return header_of(file, frames, repetition_time(file, header, sidecar, self.told_tr))

    def read(self) -> RawScan:
        """The series in atlas order."""
        file = self.files[0]
        tr = self.check().tr
        series = read_series(file, self.columns, self.part, self.time)
        return raw_scan(file, in_atlas_order(series.T, self.columns, self.atlas), self.atlas, tr)


FoundSeries = SeriesScan | archive.ArchiveScan


def find(
    settings: InputSettings, atlas: Atlas, tables: Collection[Path] = ()
) -> tuple[list[FoundSeries], list[ScanProblem], list[PassedOver]]:
    """Scans of a folder by key, what keeps others out, and what is passed over.

    Array files are opened, tables not.

    Parameters
    ----------
    settings : InputSettings
    atlas : Atlas
    tables : collection of Path
        Tables of people, which may lie among the scans.

    Raises
    ------
    ScanProblem
        If the names cannot be used, a problem of every scan.
    """
    assert settings.names is not None
    columns = read_names(settings.names)
    try:
        atlas.rows_of(to_atlas_names(columns, atlas))
    except ValueError as error:
        raise refusal(settings.names, error) from error
    beside = {path.resolve() for path in (settings.names, *tables)}
    found = scans_of(settings.folder, columns, atlas, settings.tr, beside, settings.time)
    taken = [scan for scan, task in found.scans if settings.task in (None, task)]
    others = [scan for scan, task in found.scans if settings.task not in (None, task)]
    why = f"tasks other than {settings.task} (input.task)"
    passed = [*found.passed_over, *(PassedOver(scan.files[0], why) for scan in others)]
    return taken, found.problems, passed


class FolderOfSeries(NamedTuple):
    """What a folder holds.

    Attributes
    ----------
    scans : list of (scan, str or None)
        By key, with the task that their names tell.
    problems : list of ScanProblem
    passed_over : list of PassedOver
    """

    scans: list[tuple[FoundSeries, str | None]]
    problems: list[ScanProblem]
    passed_over: list[PassedOver]


def scans_of(
    folder: Path,
    columns: tuple[str, ...],
    atlas: Atlas,
    told_tr: float | None,
    beside: Collection[Path] = (),
    time: Time | None = None,
) -> FolderOfSeries:
    """Look for scans in a folder and those below it.

    Parameters
    ----------
    folder : Path
    columns : tuple of str
        ROI names of columns.
    atlas : Atlas
    told_tr : float, optional
        Seconds.
    beside : collection of Path
        Resolved paths of files that are no scans.
    time : {"rows", "columns"}, optional
        As in `read_series`.
    """
    every, problems = walk(folder, lambda file: file.resolve() not in beside)
    files = [file for file in every if _is_series(file)]
    scans: list[FoundSeries] = []
    tasks: dict[Key, str | None] = {}
    for file in files:
        try:
            if is_site_archive(file):
                scans += archive.scans_of(file, atlas, told_tr)
                continue
            for part in scans_in(file):
                key, task = _key(file, part)
                tasks[key] = task
                scans.append(SeriesScan(*key, (file,), part, columns, atlas, told_tr, time))
        except ScanProblem as problem:
            problems.append(problem)
    single, copies = without_copies(sorted(scans, key=lambda scan: scan.key))
    passed = [PassedOver(file, why) for file in every if (why := _why_no_series(file))]
    return FolderOfSeries(
        [(scan, tasks.get(scan.key)) for scan in single], problems + copies, passed
    )


def read_names(file: Path) -> tuple[str, ...]:
    """ROI names, one a line.

    Raises
    ------
    ScanProblem
        If the file cannot be read, or names an ROI twice.
    """
    is_there(file)  # what was not fetched is told as such
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScanProblem(
            file, "ROI names in UTF-8, one a line", plainly(error), "save it as UTF-8 text"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    try:
        Atlas.from_names(names)
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


def _why_no_series(file: Path) -> str:
    """Why a file that may look like a scan is none; empty where it is one, or nobody would ask."""
    if _is_series(file):
        return ""
    if ending(file):
        of_people = file.parent.name == "phenotype" or _stem(file).split("_")[-1] in OF_PEOPLE
        return "" if of_people else NO_SERIES
    name = file.name.lower()
    if name.endswith((*PAGES, *PICTURES, *PROGRAMS)) or name.startswith(TEXTS):
        return ""
    end = "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
    return f"{end or 'a file without an ending'} is not read"


def _key(file: Path, part: Part) -> tuple[Key, str | None]:
    """Subject, session and run, and the task among them."""
    name = composed(part.name).replace("/", "_")
    inner = {k: v for k, v in bids_entities(name).items() if k not in NOT_ENTITIES}
    entities = {**bids_entities(_stem(file)), **inner}
    run = [run_of(entities)]
    if "sub" in entities:
        subject = f"sub-{entities['sub']}"
        run += [name] if name and not inner else []
    else:
        subject, visit = visit_of(name or composed(_stem(file)))
        entities.setdefault("ses", visit)
        run = run if name else []
    session, task = entities.get("ses", ""), entities.get("task")
    return (subject, session, "_".join(filter(None, run))), task
