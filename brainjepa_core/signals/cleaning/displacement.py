"""Framewise displacement as tables tell it: what is unknown is never taken for stillness."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.problems import ScanProblem

FD = "framewise_displacement"


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
