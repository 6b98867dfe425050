"""Framewise displacement as tables tell it: what is unknown is never taken for stillness."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.problems import ScanProblem

FD = "framewise_displacement"


def mean_displacement(table: Path) -> float | None:
    """Mean over frames but the first of a table's column, in mm; None where it does not tell.

    Reads the one column only, so that thousands of tables take seconds. What is wrong with a
    table, `known_displacement` says when the scan is prepared.
    """
    try:
        header, *lines = table.read_bytes().splitlines()
        place = header.split(b"\t").index(FD.encode())
        fd = np.array([float(line.split(b"\t", place + 1)[place]) for line in lines[1:]])
    except (OSError, ValueError, IndexError):
        return None
    return float(fd.mean()) if fd.size and np.isfinite(fd).all() else None


def known_displacement(fd: Float64, file: Path) -> Float64 | None:
    """Displacement of every frame; None where a table knows it of none.

    Parameters
    ----------
    fd : ndarray of float64 [F]
        mm, NaN where it is not known. The first frame has no predecessor, and counts as still.
    file : Path
        Named by the problem.

    Raises
    ------
    ScanProblem
        If it is known of some of the later frames only, or negative: a code for missing.
    """
    if (fd < 0).any():
        raise ScanProblem(
            file,
            f"{FD} of 0 mm or more",
            f"{int((fd < 0).sum())} of {len(fd)} frames below",
            "write n/a where it is not known",
        )
    known = np.isfinite(fd[1:])
    if not known.any():
        return None
    if not known.all():
        raise ScanProblem(
            file,
            f"{FD} of every frame but the first",
            f"{int((~known).sum())} of {len(fd)} frames without a number",
            "take the table as it was written",
        )
    return np.concatenate([np.nan_to_num(fd[:1]), fd[1:]])
