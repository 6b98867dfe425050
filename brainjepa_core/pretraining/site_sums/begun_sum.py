"""A sum over many people on disk, with how far it is: a kill costs seconds, and not all of it."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

import numpy as np

from brainjepa_core.arrays import load_arrays, to_bytes
from brainjepa_core.origin import digest
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.pairs import SumOverPairs

EVERY = 10.0  # seconds between writings
Sum = TypeVar("Sum", bound=SumOverPairs)


def file_of(kind: type[SumOverPairs]) -> str:
    """Name of the file that a kind of sum is kept in."""
    return f"{kind.NAME.replace(' ', '-')}.npz"


class BegunSum(Generic[Sum]):
    """A sum by blocks of people, beside the aligned scans that it is made of.

    The folder is of one store and one kind of settings, and loses the file when the store changes.

    Parameters
    ----------
    kind : type
        Of the sum.
    windows : Windows
        Without a folder, nothing is kept.
    block : int
        People of a block.
    """

    def __init__(self, kind: type[Sum], windows: Windows, block: int) -> None:
        self._kind, self._kept, self._rois = kind, windows.kept, windows.atlas.rois
        scans = [[r.sha256 for r in person.records] for person in windows.people]
        self._key = np.array(digest([block, scans]))
        self._next = time.monotonic() + EVERY

    def read(self) -> tuple[int, Sum]:
        """How many blocks are done, and their sum; none where it is of other people, or damaged."""
        nothing = 0, self._kind(self._rois)
        if self._kept is None:
            return nothing
        try:
            arrays = load_arrays(self._kept.folder / file_of(self._kind))
            key, blocks = str(arrays.pop("key")), int(arrays.pop("blocks"))
            return (blocks, self._kind.from_arrays(arrays)) if key == self._key else nothing
        except (OSError, ValueError, KeyError):
            return nothing

    def write(self, blocks: int, total: Sum, *, last: bool) -> None:
        """Keep the sum over so many blocks, now and then, and the last."""
        if self._kept is None or not (last or time.monotonic() >= self._next):
            return
        arrays = {"key": self._key, "blocks": np.array(blocks), **total.to_arrays()}
        self._kept.put(file_of(self._kind), to_bytes(arrays, compress=False))
        self._next = time.monotonic() + EVERY
