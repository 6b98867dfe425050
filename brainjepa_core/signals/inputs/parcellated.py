"""What forms of input that come by ROI have in common.

Shapes: R ROIs, F frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import SHOWN, Atlas
from brainjepa_core.signals.problems import ScanProblem, UnusableProblem, is_folder, unreadable
from brainjepa_core.signals.scan import Mask, RawScan, ScanHeader
from brainjepa_core.usable import MIN_FRAMES

LEAST_COVERAGE = 0.5  # below, an ROI counts as missing


def walk(
    folder: Path, wanted: Callable[[Path], bool], aside: Collection[str] = ()
) -> tuple[list[Path], list[ScanProblem]]:
    """Wanted files at any depth in order of their paths; links are followed, but not in circles.

    Hidden files and folders, and folders of names that are `aside`, are passed over. A name that is
    not in UTF-8 is a problem, and so is a folder that is a link to nowhere.
    """
    files: list[Path] = []
    problems: list[ScanProblem] = []
    seen = set()

    def onerror(error: OSError) -> None:
        problems.append(unreadable(error))

    for parent, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [n for n in folders if not n.startswith(".") and n not in aside]
        for name in names:
            file = Path(parent, name)
            if name.startswith(".") or is_folder(file, problems) or not wanted(file):
                continue
            try:
                str(file.relative_to(folder)).encode()
            except UnicodeEncodeError:
                shown = name.encode(errors="replace").decode()
                found, mend = "bytes of another encoding", "rename it (convmv does whole folders)"
                problems.append(ScanProblem(shown, "a file name in UTF-8", found, mend))
                continue
            files.append(file)
    return sorted(files), problems


def header_of(file: Path, frames: int, tr: float) -> ScanHeader:
    """A header, if there are frames enough to be a scan.

    Raises
    ------
    UnusableProblem
        If there are not.
    """
    if frames < MIN_FRAMES:
        raise UnusableProblem(
            file, f"at least {MIN_FRAMES} frames", f"{frames}", "check the export of this scan"
        )
    return ScanHeader(frames, tr)


def raw_scan(
    file: Path,
    series: Float64,
    atlas: Atlas,
    tr: float,
    coverage: Float64 | None = None,
    fd: Float64 | None = None,
    keep: Mask | None = None,
    details: dict[str, Any] | None = None,
) -> RawScan:
    """A parcellated scan, if it can be used.

    An ROI that is 0 or NaN in all frames, or seen by less than half, is missing.

    Parameters
    ----------
    file : Path
        Named by problems.
    series : ndarray of float64 [R, F]
        In atlas order.
    coverage : ndarray of float64 [R], optional
        NaN where it is not known, as for every ROI with a signal by default.
    fd, keep, details
        As in `RawScan`.

    Raises
    ------
    ScanProblem
        If there are gaps within an ROI; an `UnusableProblem` if there are too few frames or no ROI.
    """
    header_of(file, series.shape[1], tr)
    silent = (np.isnan(series) | (series == 0)).all(1)
    seen = np.where(silent, 0.0, np.nan)
    if coverage is not None:
        seen = np.where(silent | np.isnan(coverage), seen, coverage)
    gone = seen < LEAST_COVERAGE
    gaps = [atlas.rois[row] for row in np.flatnonzero(~gone & ~np.isfinite(series).all(1))]
    if gone.all():
        raise UnusableProblem(
            file, "finite numbers of some ROI", "no ROI with a signal", "look at the extraction"
        )
    if gaps:
        more = f" and {len(gaps) - SHOWN} more ROIs" if len(gaps) > SHOWN else ""
        raise ScanProblem(
            file,
            "finite numbers, or n/a in all frames of a missing ROI",
            f"gaps in {', '.join(gaps[:SHOWN])}{more}",
            "interpolate the frames, or leave the whole ROI out",
        )
    series = np.where(gone[:, None], np.nan, series)
    return RawScan(series, tr, seen, fd=fd, keep=keep, details=details or {})
