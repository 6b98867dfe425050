"""What XCP-D says of motion, and whether moved frames are gone from a series or interpolated.

``_motion.tsv`` and ``_outliers.tsv`` have a row for every frame of the scan. In ``linc`` mode the
series lacks those that are outliers, in ``abcd`` and ``hbcd`` mode it has all of them, outliers
interpolated.

Tables of outliers had one column, ``framewise_displacement``, until XCP-D could also censor by
DVARS and by what lies around an outlier. Since then ``denoising`` says which frames the regression
left out (and interpolated), and ``interpolation`` which ones are censored in the end; the others
are what these two were made from.

Shapes: F frames of the series, W frames of the whole scan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.cleaning.displacement import FD, known_displacement
from brainjepa_core.signals.problems import ScanProblem, UnusableProblem
from brainjepa_core.signals.scan import DROPPED, Mask
from brainjepa_core.signals.tables.text_tables import Table, read_table

IN_THE_END = ("interpolation", "denoising")
BY_MEASURE = (FD, "dvars")


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
        Tables of displacement in mm, and of ones for censored frames.

    Raises
    ------
    ScanProblem
        If a table cannot be read, or no censoring explains the lengths; an `UnusableProblem` if
        every frame is an outlier.
    """
    fd = None
    if motion is not None:
        fd = known_displacement(_column(read_table(motion), FD, motion), motion)
    flags = {} if outliers is None else _flags(outliers)
    rows = {len(column) for column in (fd, *flags.values()) if column is not None}
    if rows <= {frames}:
        return _all_there(fd, flags, outliers)
    gone = max(rows) - frames
    explains = [moved for moved in flags.values() if moved.sum() == gone]
    if len(rows) > 1 or gone < 0 or (flags and not explains):
        counts = ", ".join(f"{int(moved.sum())} by {name}" for name, moved in flags.items())
        raise ScanProblem(
            series,
            "as many frames as the motion tables have, or have without outliers",
            f"{frames} frames, and {' and '.join(map(str, sorted(rows)))} in the tables"
            f"{f', outliers among them: {counts}' if flags else ''}",
            "copy series and motion tables from one run of XCP-D",
        )
    kept = None if fd is None or not explains else fd[~explains[0]]
    return Motion(kept, None, {DROPPED: gone})


def _all_there(fd: Float64 | None, flags: dict[str, Mask], outliers: Path | None) -> Motion:
    """Of a series with every frame: what the regression left out is not there either."""
    if outliers is None:
        return Motion(fd)
    moved = np.any([*flags.values()], axis=0)
    if moved.all():
        raise UnusableProblem(
            outliers,
            "frames that are no outliers",
            f"none of {len(moved)}",
            "leave the scan out, or run XCP-D with a higher --fd-thresh",
        )
    told = {"CensoredFramesInterpolated": int(moved.sum())} if moved.any() else {}
    return Motion(fd, ~moved, told)


def _flags(file: Path) -> dict[str, Mask]:
    """Outliers [W] by the columns that may have made the series, the last word first."""
    table = read_table(file)
    names = [_bare(name) for name in table.columns or ()]
    told = [name for name in IN_THE_END if name in names]
    measures = [name for name in BY_MEASURE if name in names] or [FD]
    values = {name: _column(table, name, file) for name in told or measures}
    flags = {name: _as_flags(column, name, file) for name, column in values.items()}
    return flags if told else {" or ".join(measures): np.any([*flags.values()], axis=0)}


def _as_flags(values: Float64, name: str, file: Path) -> Mask:
    unknown = int(np.isnan(values).sum())
    if unknown:
        raise ScanProblem(
            file,
            f"0 or 1 of every frame in column {name}",
            f"{unknown} of {len(values)} frames without",
            "take the table as XCP-D wrote it",
        )
    return values > 0


def _column(table: Table, name: str, file: Path) -> Float64:
    """A column by its name, or the only one there is."""
    places = [i for i, column in enumerate(table.columns or ()) if _bare(column) == name]
    if len(places) == 1 or table.values.shape[1] == 1:
        return table.values[:, places[0] if places else 0].copy()
    found = f"{len(places)} of them" if places else f"columns {list(table.columns or ())[:5]}"
    raise ScanProblem(file, f"a column {name}", found, "take the table as XCP-D wrote it")


def _bare(name: str) -> str:
    return name.strip().casefold()
