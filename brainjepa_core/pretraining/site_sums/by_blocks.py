"""Sums over the people of some windows, by blocks: the same bits for any number of processes.

People are added by blocks of 64, and the blocks in their order. Where windows keep aligned scans on
disk, the sum is kept beside them: after a kill it goes on where it was, and asked again it is read.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainjepa_core.arrays import Float32
from brainjepa_core.machine.workers import in_order
from brainjepa_core.pretraining.site_sums.begun_sum import BegunSum, Sum
from brainjepa_core.signals.windows import Windows
from brainjepa_core.usable import live_rois, why_unusable

PEOPLE = 64  # added up by themselves; another number gives other last bits
Scan = tuple[Float32, NDArray[np.bool_]]
"""Series [R, F], and which ROIs hold a signal [R]; rows of the others say nothing."""


def scans_of(windows: Windows, person: int) -> list[Scan]:
    """A person's aligned scans that correlations can be of.

    A scan without enough live ROIs, once it is aligned and scaled, is not among them: a scale of
    its own may leave an ROI next to nothing.
    """
    found = []
    for series, valid in windows.aligned(person):
        live = live_rois(np.where(valid[:, None], series, np.nan))
        if not why_unusable(series.shape[1], int(live.sum())):
            found.append((series, live))
    return found


def sum_by_blocks(
    kind: type[Sum],
    of_block: Callable[[Windows], Sum],
    windows: Windows,
    processes: int,
    go_on: Callable[[], None],
) -> Sum:
    """A sum over everybody.

    Parameters
    ----------
    kind : type
        Of the sum.
    of_block : callable
        The sum over a block's people; a function of a module, for other processes.
    windows : Windows
    processes : int
        To work in. With one, this one does; another takes some seconds to start.
    go_on : callable
        Called after each block; what it raises ends the work.

    Raises
    ------
    ValueError
        If a process was killed.
    """
    everybody = range(windows.subjects)
    blocks = [everybody[first : first + PEOPLE] for first in everybody[::PEOPLE]]
    begun = BegunSum(kind, windows, PEOPLE)
    done, total = begun.read()
    processes = max(1, min(processes, len(blocks) - done))
    part_of = windows.only if processes == 1 else windows.unlisted
    # One thread of BLAS everywhere: with others a product of matrices has other last bits.
    with (
        threadpool_limits(1, "blas"),
        closing(in_order(of_block, map(part_of, blocks[done:]), processes)) as sums,
    ):
        for number, one in enumerate(sums, done + 1):
            total += one
            begun.write(number, total, last=number == len(blocks))
            go_on()
    return total
