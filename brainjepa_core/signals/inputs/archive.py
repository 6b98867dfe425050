"""A site archive (NPZ, see `tables.site_archive`) as one scan a participant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.inputs.parcellated import header_of, raw_scan
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.labels import visit_of
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names
from brainjepa_core.signals.tables.series_files import refusal
from brainjepa_core.signals.tables.site_archive import SiteArchive, read_site_archive
from brainjepa_core.usable import require_seconds


@dataclass(frozen=True)
class ArchiveScan(FoundScan):
    """One participant of an archive.

    Attributes
    ----------
    archive : SiteArchive
        What its small arrays say; the series are read when asked for.
    place : int
        Which of its scans.
    atlas : Atlas
    told_tr : float, optional
        The site's word on the repetition time in seconds.
    """

    archive: SiteArchive
    place: int
    atlas: Atlas
    told_tr: float | None = None

    def check(self) -> ScanHeader:
        """Length and repetition time as the archive has them."""
        file, tr = self.files[0], self.told_tr or self.archive.trs[self.place]
        try:
            require_seconds(tr)
        except ValueError as error:
            raise refusal(file, error) from error
        return header_of(file, self.archive.lengths[self.place], tr)

    def read(self) -> RawScan:
        """The series in atlas order."""
        file = self.files[0]
        try:
            series = self.archive.series(self.place)
            ordered = in_atlas_order(series, self.archive.names, self.atlas)
        except ValueError as error:
            raise refusal(file, error) from error
        return raw_scan(file, ordered, self.atlas, self.check().tr)


def find(settings: InputSettings, atlas: Atlas) -> tuple[list[ArchiveScan], list[ScanProblem]]:
    """Participants of an archive by name, or what keeps all of them out."""
    try:
        scans = scans_of(settings.folder, atlas, settings.tr)
    except ScanProblem as problem:
        return [], [problem]
    return sorted(scans, key=lambda scan: scan.key), []


def scans_of(file: Path, atlas: Atlas, told_tr: float | None) -> list[ArchiveScan]:
    """Participants of an archive in its order; reads the small arrays only.

    Raises
    ------
    ScanProblem
        If it is damaged, its parts do not fit one another, or its ROIs are not the atlas'.
    """
    try:
        archive = read_site_archive(file)
        atlas.rows_of(to_atlas_names(archive.names, atlas))
    except ValueError as error:
        raise refusal(file, error) from error
    return [
        ArchiveScan(*visit_of(person), "", (file,), archive, place, atlas, told_tr)
        for place, person in enumerate(archive.people)
    ]
