"""One scan, from its files to what the store takes: the work of one process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brainjepa_client.preparing.scan_reports import digest
from brainjepa_client.quality.ratings import Word, reason
from brainjepa_client.quality.scan_figure import draw_scan
from brainjepa_client.quality.table import ScanReport, Status
from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.files import temporary_name
from brainjepa_core.gradients.neighbour_alarm import half_connectivity, neighbour_alarm
from brainjepa_core.problems import is_disk_full, plainly
from brainjepa_core.signals.cleaning.clean import clean_series
from brainjepa_core.signals.cleaning.quality import reasons_to_exclude, scan_quality
from brainjepa_core.signals.importing.derivatives import write_derivative
from brainjepa_core.signals.preparation import PreparationSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan
from brainjepa_core.signals.storing.scan_arrays import WrittenVolumes
from brainjepa_core.signals.storing.scan_table import Volumes
from brainjepa_core.signals.tables.series_files import refusal
from brainjepa_core.usable import UnusableScan
from brainjepa_core.version import VERSION
from brainjepa_core.volume_grid import VolumeGrid


@dataclass(frozen=True)
class Prepared:
    """What became of a scan.

    Attributes
    ----------
    report : ScanReport
    series : ndarray of float32 [R, F], optional
        None where the scan failed or is left out.
    tr : float
        Seconds.
    volumes : WrittenVolumes, optional
        Where they are asked for.
    """

    report: ScanReport
    series: Float32 | None = None
    tr: float = 0.0
    volumes: WrittenVolumes | None = None

    def failed(self, problem: ScanProblem) -> ScanReport:
        """The report, if a problem shows later."""
        return replace(self.report, status="failed", reasons=(str(problem),))


class Job(NamedTuple):
    """A scan, and what is told of it beside its files.

    Attributes
    ----------
    scan : FoundScan
    told_fd : float, optional
        Mean displacement in mm that phenotypes tell.
    rating : str, optional
        Of a person.
    """

    scan: FoundScan
    told_fd: float | None = None
    rating: Word | None = None


def prepare_scan(
    settings: PreparationSettings, atlas: Atlas, figures: Path, volumes: Path, job: Job
) -> Prepared:
    """Read, clean, judge and draw one scan; raises nothing, so that others go on.

    Parameters
    ----------
    settings : PreparationSettings
    atlas : Atlas
    figures, volumes : Path
        Folders of the pictures, and of volumes on their way into the store.
    job : Job
    """
    scan = job.scan
    try:
        return _prepare(settings, atlas, figures, volumes, job)
    except ScanProblem as problem:
        return _failed(scan, problem)
    except UnusableScan as unusable:
        return _failed(scan, refusal(scan.files[0], unusable))
    except Exception as error:  # one scan's defect, foreseen or not, is no reason to stop the rest
        if is_disk_full(error):  # which is no scan's own: the rest would fail as well
            raise
        text = " ".join(str(error).split())
        expected = "a scan that can be prepared"
        found = text if isinstance(error, ValueError) else f"{plainly(error, 'a defect')} ({text})"
        mend = "look at the file; if it is sound, tell the makers of this tool"
        return _failed(scan, ScanProblem(scan.files[0], expected, found, mend))


def _failed(scan: FoundScan, problem: ScanProblem) -> Prepared:
    return Prepared(ScanReport(*scan.key, "failed", {}, (str(problem),), None))


def _prepare(
    settings: PreparationSettings, atlas: Atlas, figures: Path, volumes: Path, job: Job
) -> Prepared:
    scan = job.scan
    raw = scan.read()
    cleaned = clean_series(raw, settings.cleaning)
    order = neighbour_alarm(*half_connectivity(cleaned), atlas.centroids)
    quality = scan_quality(raw, cleaned)
    if job.told_fd is not None:
        quality.setdefault("mean_fd", job.told_fd)
    if order is not None:
        quality["order_score"] = order.score
    reasons = reasons_to_exclude(quality, settings.exclude, len(atlas))
    if settings.exclude.wrong_order and order is not None and order.verdict == "wrong order":
        reasons.append(f"{order.message} (exclude.wrong_order)")
    reasons += reason(job.rating)
    picture = figures / f"{digest(scan.key)}.png"
    status: Status = "excluded" if reasons else "included"
    place = f"{figures.name}/{picture.name}"
    known = np.isfinite(raw.coverage).all()
    coverage = tuple(raw.coverage.round(4).tolist()) if known else ()
    report = ScanReport(*scan.key, status, quality, tuple(reasons), place, coverage)
    threshold = settings.cleaning.fd_threshold if settings.cleaning.scrub else None
    draw_scan(picture, raw, cleaned, atlas, quality, title=report.name, fd_threshold=threshold)
    if reasons:
        return Prepared(report)
    if settings.derivatives is not None:
        _write_derivative(settings.derivatives, settings, scan, raw, cleaned, atlas)
    written = None
    if settings.volumes is not None:
        written = _write_volumes(settings, settings.volumes.grid, volumes, scan, raw, cleaned)
    return Prepared(report, cleaned.astype(np.float32), raw.tr, written)


def _write_volumes(
    settings: PreparationSettings,
    grid: VolumeGrid,
    folder: Path,
    scan: FoundScan,
    raw: RawScan,
    cleaned: Float64,
) -> WrittenVolumes:
    """Volumes of the frames of a series, under a temporary name."""
    folder.mkdir(exist_ok=True)
    path = temporary_name(folder / f"{digest(scan.key)}.npy")
    drop = settings.cleaning.censored == "drop"
    sha256 = scan.write_volumes(grid, path, raw.keep, drop=drop)
    return WrittenVolumes(path, Volumes(grid, sha256), cleaned.shape[1])


def _write_derivative(
    folder: Path,
    settings: PreparationSettings,
    scan: FoundScan,
    raw: RawScan,
    cleaned: Float64,
    atlas: Atlas,
) -> None:
    unseen = {
        roi: round(float(share), 4)
        for roi, share in zip(atlas.rois, raw.coverage, strict=True)
        if share < 1
    }
    root = settings.input.folder
    sources = [
        f"bids::{path.relative_to(root)}" if path.is_relative_to(root) else path.name
        for path in scan.files
    ]
    sidecar: dict[str, Any] = {
        "RepetitionTime": raw.tr,
        "SamplingFrequency": 1 / raw.tr,
        "Sources": sources,
        **raw.details,
        "GeneratedBy": f"brainjepa-federated {VERSION}",
    }
    if np.isfinite(raw.coverage).all():
        sidecar["Coverage"] = unseen  # of ROIs that the scan does not see whole
    if raw.keep is not None:
        sidecar["CensoredFrames"] = np.flatnonzero(~raw.keep).tolist()
    if raw.fd is not None:
        sidecar["MeanFramewiseDisplacement"] = float(raw.fd[1:].mean())
    write_derivative(folder, scan.key, space_of(settings), atlas, cleaned, sidecar)


def space_of(settings: PreparationSettings) -> str:
    """BIDS ``space`` of derivatives; empty where the input came without images."""
    return settings.input.space if settings.input.label_image is not None else ""
