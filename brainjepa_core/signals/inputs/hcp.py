"""HCP-style CIFTI: ``<subject>/MNINonLinear/Results/<run>/<run>_Atlas*_clean*.dtseries.nii``.

They are cleaned already (ICA-FIX). Of several versions of a run, the most processed one is taken.
Without a label image, ``.ptseries.nii`` are read by the names of their parcels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.problems import plainly
from brainjepa_core.signals.images import cifti
from brainjepa_core.signals.images.cifti import CiftiLabels, parcellate_cifti, read_parcels
from brainjepa_core.signals.inputs.bids import repetition_time
from brainjepa_core.signals.inputs.parcellated import header_of
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.cells import number

RESULTS = Path("MNINonLinear") / "Results"
MOTION = "Movement_RelativeRMS.txt"  # mm between frames (Jenkinson's displacement), one a line
REST = "rfMRI"


@dataclass(frozen=True)
class HcpScan(FoundScan):
    """One run of one subject."""

    atlas: Atlas
    labels: CiftiLabels | None = None
    told_tr: float | None = None

    def check(self) -> ScanHeader:
        """Frames and repetition time by the header."""
        header = cifti.read_header(self.files[0])
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


def find(settings: InputSettings, atlas: Atlas) -> tuple[list[HcpScan], list[ScanProblem]]:
    """Resting-state runs, or those whose name has ``input.task`` in it."""
    labels, ending = None, "ptseries.nii"
    if settings.label_image is not None:
        labels, ending = CiftiLabels(settings.label_image, atlas), "dtseries.nii"
        labels.check()
    wanted = (settings.task or REST).lower()
    scans, problems = [], []
    for run in sorted(settings.folder.glob(f"*/{RESULTS}/*")):
        if wanted not in run.name.lower() or not run.is_dir():
            continue
        versions = sorted(run.glob(f"{run.name}_Atlas*.{ending}"), key=_rank)
        if versions and "_clean" in versions[-1].name:
            subject = run.parents[2].name
            motion = tuple(path for path in (run / MOTION,) if os.path.lexists(path))
            scans.append(
                HcpScan(subject, "", run.name, (versions[-1], *motion), atlas, labels, settings.tr)
            )
        elif versions:
            problems.append(
                ScanProblem(
                    versions[-1],
                    f"a cleaned series of the run (..._clean.{ending})",
                    "only uncleaned ones",
                    "run ICA-FIX, or give the data as fMRIPrep derivatives with confounds",
                )
            )
    return scans, problems


def _rank(path: Path) -> tuple[bool, bool, int]:
    return "_clean" in path.name, "MSMAll" in path.name, len(path.name)


def _displacement(file: Path, frames: int) -> Float64 | None:
    if not is_there(file):
        return None
    try:
        cells = file.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ScanProblem(file, "a number a line", plainly(error), "copy the file again") from error
    fd = np.array([np.nan if (value := number(cell)) is None else value for cell in cells])
    if not np.isfinite(fd).all():
        raise ScanProblem(
            file,
            "a number a line",
            f"{int((~np.isfinite(fd)).sum())} lines without one",
            "copy the file again",
        )
    if len(fd) != frames:
        raise ScanProblem(
            file, f"{frames} lines, one a frame", f"{len(fd)}", "give the file of this run"
        )
    return fd
