"""Co-skewness of people as their windows show them, and its sum over everybody.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.pretraining.site_sums.by_blocks import Scan, scans_of, sum_by_blocks
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_core.usable import MIN_ROIS


def shared_rois(scans: Sequence[Scan]) -> NDArray[np.bool_] | None:
    """ROIs [R] that all of a person's scans have; None without a scan, or of too few ROIs."""
    if not scans:
        return None
    known: NDArray[np.bool_] = np.logical_and.reduce([live for _, live in scans])
    return known if known.sum() >= MIN_ROIS else None


def coskewness_sum(
    windows: Windows, processes: int = 1, go_on: Callable[[], None] = lambda: None
) -> CoskewnessSum:
    """Summed co-skewness of everybody's aligned scans.

    A person counts in the pairs of ROIs that all of their scans have. Whose scans share too few
    counts nowhere.

    Parameters
    ----------
    windows : Windows
    processes : int
        To work in. With one, this one does; another takes some seconds to start.
    go_on : callable
        Called after each block of people (`sum_by_blocks`); what it raises ends the work.

    Raises
    ------
    ValueError
        If a process was killed.
    """
    return sum_by_blocks(CoskewnessSum, _sum_of_block, windows, processes, go_on)


def _sum_of_block(windows: Windows) -> CoskewnessSum:
    """The sum over a block's people, one after the other."""
    total = CoskewnessSum(windows.atlas.rois)
    for person in range(windows.subjects):
        scans = scans_of(windows, person)
        known = shared_rois(scans)
        if known is not None:
            total.add_subject([series for series, _ in scans], known)
    return total
