"""UK Biobank's parcellated resting state (Mansour et al., return 4390): two tables a person.

::

    1234567_2_0/fMRI/fMRI.Schaefer17n400p.csv.gz          label_name,timepoint_0,timepoint_1,...
    1234567_2_0/fMRI/fMRI.Tian_Subcortex_S3_3T.csv.gz     one row an ROI

Folders may also be called ``<eid>_31016_2_0`` (field, instance, array) or ``<eid>``.

Source: github.com/sina-mansour/UKB-connectomics, ``compute_cortical_fmri.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.inputs.bids import without_copies
from brainjepa_core.signals.inputs.parcellated import header_of, raw_scan, walk
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.bids_names import composed
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names
from brainjepa_core.signals.tables.series_files import refusal
from brainjepa_core.signals.tables.text_tables import Table, first_row, read_table

TR = 0.735  # seconds, of every resting-state scan of the study
TABLES = ("fMRI.Schaefer17n400p", "fMRI.Tian_Subcortex_S3_3T")
ENDINGS = (".csv.gz", ".csv")
PERSON = re.compile(r"(\d+)(?:_\d{4,6})?(?:_(\d)_\d+)?")  # eid, field, instance and array
INSTANCE = re.compile(r"(?:\d{4,6}_)?(\d)_\d+")  # a folder within a person's


@dataclass(frozen=True)
class UkbScan(FoundScan):
    """One imaging visit of a person.

    Attributes
    ----------
    atlas : Atlas
    tr : float
        Seconds.
    """

    atlas: Atlas
    tr: float

    def check(self) -> ScanHeader:
        """Number of frames by the first lines, and whether both tables are there."""
        first, *others = [(file, first_row(file)) for file in self.files]
        for file, table in others:
            _refuse_other_length(file, table, first[1])
        if len(self.files) < len(TABLES):
            self._refuse_half(first[0])
        return header_of(first[0], first[1].values.shape[1], self.tr)

    def _refuse_half(self, file: Path) -> None:
        """One table will do for an atlas that has no more."""
        try:
            known = set(to_atlas_names(_labels(file, read_table(file)), self.atlas))
        except ValueError as error:
            raise refusal(file, error) from error
        if not known.issuperset(self.atlas.rois):
            absent = next(name for name in TABLES if not file.name.startswith(name))
            raise ScanProblem(
                file,
                f"{absent}.csv.gz beside it",
                "this table alone",
                "copy the other table there",
            )

    def read(self) -> RawScan:
        """Both tables in atlas order."""
        self.check()
        names: list[str] = []
        values: list[Table] = []
        for file in self.files:
            table = read_table(file)
            names += _labels(file, table)
            values.append(table)
        for file, table in zip(self.files, values, strict=True):
            _refuse_other_length(file, table, values[0])
        try:
            series = in_atlas_order(np.concatenate([t.values for t in values]), names, self.atlas)
        except ValueError as error:
            raise refusal(self.files[0], error) from error
        return raw_scan(self.files[0], series, self.atlas, self.tr)


def find(settings: InputSettings, atlas: Atlas) -> tuple[list[UkbScan], list[ScanProblem]]:
    """Visits of all people by key, and what keeps others out; no table is opened."""
    wanted = {name + ending: (TABLES.index(name), ending) for name in TABLES for ending in ENDINGS}
    files, problems = walk(settings.folder, lambda file: file.name in wanted)
    by_folder: dict[Path, dict[int, Path]] = {}
    for file in files:  # .csv comes before .csv.gz, and one of them will do
        by_folder.setdefault(file.parent, {}).setdefault(wanted[file.name][0], file)
    tr = settings.tr or TR
    scans = [
        UkbScan(*_key(folder, settings.folder), tuple(tables[i] for i in sorted(tables)), atlas, tr)
        for folder, tables in by_folder.items()
    ]
    single, copies = without_copies(sorted(scans, key=lambda scan: scan.key))
    return single, problems + copies


def _key(folder: Path, root: Path) -> tuple[str, str, str]:
    """Subject, and as session the instance that a folder's name tells."""
    names = [composed(name) for name in folder.relative_to(root).parts if name.lower() != "fmri"]
    last = names[-1] if names else root.resolve().name
    instance = INSTANCE.fullmatch(last)
    if instance and len(names) > 1 and names[-2].isdecimal():
        return names[-2], instance[1], ""
    person = PERSON.fullmatch(last)
    return (person[1], person[2] or "", "") if person else (last, "", "")


def _labels(file: Path, table: Table) -> Sequence[str]:
    if table.rows is None:
        raise ScanProblem(
            file,
            "an ROI name in front of each row",
            "numbers only",
            "take the table as the study gave it out",
        )
    return table.rows


def _refuse_other_length(file: Path, table: Table, other: Table) -> None:
    frames, expected = table.values.shape[1], other.values.shape[1]
    if frames != expected:
        raise ScanProblem(
            file,
            f"{expected} frames, as in the other table",
            f"{frames}",
            "copy both tables of this visit again",
        )
