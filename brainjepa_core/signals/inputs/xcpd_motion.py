"""What XCP-D says of motion, and whether moved frames are gone from a series or interpolated.

``_motion.tsv`` and ``_outliers.tsv`` have a row for every frame of the scan. In ``linc`` mode the
series lacks those that are outliers, in ``abcd`` and ``hbcd`` mode it has all of them.

Shapes: F frames of the series.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.cleaning.displacement import FD, known_displacement
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import DROPPED, Mask
from brainjepa_core.signals.tables.text_tables import read_table


@dataclass(frozen=True)
class Motion:
    """As in `RawScan`; `details` say how many frames are gone or interpolated."""

    fd: Float64 | None = None
    keep: Mask | None = None
    details: dict[str, Any] = field(default_factory=dict)


def read_motion(series: Path, frames: int, motion: Path | None, outliers: Path | None) -> Motion:
    """Motion of the frames that a series has.

    Parameters
    ----------
    series : Path
        Named by problems.
    frames : int
        F.
    motion, outliers : Path, optional
        Tables with a column ``framewise_displacement``: mm, and 1 for a censored frame.

    Raises
    ------
    ScanProblem
        If a table cannot be read, or no censoring explains the lengths.
    """
    fd = None if motion is None else known_displacement(_column(motion), motion)
    moved = None if outliers is None else _column(outliers) > 0
    rows = {len(column) for column in (fd, moved) if column is not None}
    if rows <= {frames}:
        return _all_there(fd, moved)
    whole = max(rows)
    gone = whole - frames
    if len(rows) > 1 or gone < 0 or (moved is not None and moved.sum() != gone):
        flagged = "" if moved is None else f", {int(moved.sum())} of them outliers"
        raise ScanProblem(
            series,
            "as many frames as the motion tables have, or have without outliers",
            f"{frames} frames, and {' and '.join(map(str, sorted(rows)))} in the tables{flagged}",
            "copy series and motion tables from one run of XCP-D",
        )
    kept = None if fd is None or moved is None else fd[~moved]
    return Motion(kept, None, {DROPPED: gone})


def _all_there(fd: Float64 | None, moved: Mask | None) -> Motion:
    if moved is None:
        return Motion(fd)
    told = {"CensoredFramesInterpolated": int(moved.sum())} if moved.any() else {}
    return Motion(fd, ~moved, told)


def _column(file: Path) -> Float64:
    """Framewise displacement, or the only column there is."""
    table = read_table(file)
    names = table.columns or ()
    if FD not in names and table.values.shape[1] != 1:
        raise ScanProblem(
            file, f"a column {FD}", f"columns {list(names)[:5]}", "take the table as XCP-D wrote it"
        )
    return table.values[:, names.index(FD) if FD in names else 0].copy()
