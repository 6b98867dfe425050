"""HCP-style CIFTI: ``<visit>/MNINonLinear/Results/<run>/<run>_Atlas*_clean*.dtseries.nii``.

They are cleaned already (ICA-FIX). Of several versions of a run, the most processed one is taken
whose surfaces the labels have. Without a label image, ``.ptseries.nii`` are read by the names of
their parcels. A run that is joined from others of the visit is passed over.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import plainly
from brainjepa_core.signals.cleaning.displacement import known_displacement
from brainjepa_core.signals.images import cifti
from brainjepa_core.signals.images.cifti import (
    CiftiLabels,
    parcellate_cifti,
    read_parcels,
    surfaces_of,
)
from brainjepa_core.signals.inputs.bids import repetition_time, without_copies
from brainjepa_core.signals.inputs.hcp.runs import is_of_rest_and_task, joined_runs
from brainjepa_core.signals.inputs.parcellated import header_of
from brainjepa_core.signals.inputs.passed_over import PassedOver
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem, is_folder, is_there
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.bids_names import composed
from brainjepa_core.signals.tables.cells import has_decimal_comma, is_missing, number
from brainjepa_core.signals.tables.labels import visit_of

RESULTS = Path("MNINonLinear") / "Results"
MOTION = "Movement_RelativeRMS.txt"  # mm between frames (Jenkinson's displacement), one a line
REST = "rfMRI"
JOINED = "joined from runs that are taken themselves"
MIXED = "rest and tasks in one; name what is in it as input.task to take it"


@dataclass(frozen=True)
class HcpScan(FoundScan):
    """One run of one subject."""

    atlas: Atlas
    labels: CiftiLabels | None = None
    told_tr: float | None = None

    def check(self) -> ScanHeader:
        """Frames, repetition time and surfaces by the header."""
        header = cifti.read_header(self.files[0])
        _fitting(self.files[:1], self.labels)
        sidecar = self.files[0].with_suffix("").with_suffix(".json")
        tr = repetition_time(self.files[0], header.tr, sidecar, self.told_tr)
        return header_of(self.files[0], header.frames, tr)

    def read(self) -> RawScan:
        """Mean signal of each ROI, and motion where it is told."""
        header = self.check()
        if self.labels is None:
            parts = read_parcels(self.files[0], self.atlas)
        else:
            parts = parcellate_cifti(self.files[0], self.labels)
        fd = _displacement(self.files[0].parent / MOTION, header.frames)
        keep = np.ones(parts.series.shape[1], bool)  # HCP's pipelines censor nothing
        return RawScan(parts.series, header.tr, parts.coverage, parts.tsnr, fd, keep=keep)


def find(
    settings: InputSettings, atlas: Atlas
) -> tuple[list[HcpScan], list[ScanProblem], list[PassedOver]]:
    """Resting-state runs, or those whose name has ``input.task`` in it."""
    labels, ending = None, "ptseries.nii"
    if settings.label_image is not None:
        labels, ending = CiftiLabels(settings.label_image, atlas), "dtseries.nii"
        labels.check()
    scans: list[HcpScan] = []
    problems: list[ScanProblem] = []
    passed: list[PassedOver] = []
    for results in sorted(settings.folder.glob(f"*/{RESULTS}")):
        person, session = visit_of(composed(results.parents[1].name))
        runs = [run for run in sorted(results.iterdir()) if is_folder(run, problems)]
        cleaned, uncleaned, others = _sorted_out(runs, settings.task, ending)
        passed += others
        for run, versions in cleaned.items():
            try:
                series = versions[0] if len(versions) == 1 else _fitting(versions, labels)
            except ScanProblem as problem:
                problems.append(problem)
                continue
            motion = tuple(path for path in (run / MOTION,) if os.path.lexists(path))
            files = (series, *motion)
            scans.append(HcpScan(person, session, run.name, files, atlas, labels, settings.tr))
        problems += [
            ScanProblem(
                version,
                f"a cleaned series of the run (..._clean.{ending})",
                "only uncleaned ones",
                "run ICA-FIX, or give the data as fMRIPrep derivatives with confounds",
            )
            for version in uncleaned
        ]
    single, copies = without_copies(sorted(scans, key=lambda scan: scan.key))
    return single, problems + copies, passed


def _sorted_out(
    runs: Sequence[Path], task: str | None, ending: str
) -> tuple[dict[Path, list[Path]], list[Path], list[PassedOver]]:
    """Of a visit's runs: cleaned versions of those taken, best last; uncleaned ones; the rest."""
    wanted = (task or REST).lower()
    versions = {
        run: sorted(run.glob(f"{run.name}_Atlas*.{ending}"), key=_rank)
        for run in runs
        if wanted in run.name.lower()
    }
    passed = []
    if task is None:
        mixed = [run for run in versions if versions[run] and is_of_rest_and_task(run.name)]
        passed += [PassedOver(versions.pop(run)[-1], MIXED) for run in mixed]
    cleaned = {run: [v for v in own if "_clean" in v.name] for run, own in versions.items()}
    cleaned = {run: own for run, own in cleaned.items() if own}
    joined = joined_runs(run.name for run in versions)
    here = {run.name for run in cleaned}
    double = [run for run in cleaned if here & {*joined.get(run.name, ())}]
    passed += [PassedOver(cleaned.pop(run)[-1], JOINED) for run in double]
    covered = {part for run in cleaned for part in joined.get(run.name, ())}
    uncleaned = [
        own[-1]
        for run, own in versions.items()
        if own and run.name not in here and run.name not in covered
    ]
    return cleaned, uncleaned, passed


def _fitting(versions: Sequence[Path], labels: CiftiLabels | None) -> Path:
    """The most processed version whose surfaces the labels have.

    Raises
    ------
    ScanProblem
        If none of them fits: names each with its vertices.
    """
    if labels is None:
        return versions[-1]
    own = labels.surfaces()
    vertices = {version: surfaces_of(version) for version in versions}
    for version in reversed(versions):
        if all(own.get(name, count) == count for name, count in vertices[version].items()):
            return version
    found = ", ".join(f"{_largest(vertices[v])} in {v.name}" for v in versions)
    raise ScanProblem(
        versions[-1],
        f"{_largest(own)} vertices a hemisphere, as in {labels.image.name}",
        found,
        "give labels on one of these surfaces, or the run on the labels'",
    )


def _largest(vertices: Mapping[str, int]) -> int:
    return max(vertices.values(), default=0)


def _rank(path: Path) -> tuple[bool, bool, int]:
    return "_clean" in path.name, "MSMAll" in path.name, len(path.name)


def _displacement(file: Path, frames: int) -> Float64 | None:
    """Displacement of each frame; None where there is no file, or it knows it of none."""
    if not is_there(file):
        return None
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ScanProblem(file, "a number a line", plainly(error), "copy the file again") from error
    fd = []
    for place, line in enumerate(lines, 1):
        value = math.nan if is_missing(line) else number(line)
        if value is None:
            what = "a decimal comma" if has_decimal_comma(line) else "text"
            found = f"{what} in line {place}"
            raise ScanProblem(file, "a number a line, with a point", found, "copy the file again")
        fd += [value] if line.strip() else []
    if len(fd) != frames:
        raise ScanProblem(
            file, f"{frames} lines, one a frame", f"{len(fd)}", "give the file of this run"
        )
    return known_displacement(np.array(fd, np.float64), file)
