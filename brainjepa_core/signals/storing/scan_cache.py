"""Aligned scans in memory, shared by windows of the same people and by threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32

Mask = NDArray[np.bool_]


class ScanCache:
    """Aligned scans, the latest used ones.

    Parameters
    ----------
    limit : int
        Bytes kept; the scan in use is kept in any case.
    """

    def __init__(self, limit: int) -> None:
        self.scans: OrderedDict[tuple[int, tuple[str, str, str]], tuple[Float32, Mask]]
        self.scans = OrderedDict()
        self.bytes, self.limit = 0, limit
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ScanCache], tuple[int]]:
        return ScanCache, (self.limit,)  # another process begins with an empty one

    def get(
        self, key: tuple[int, tuple[str, str, str]], make: Callable[[], tuple[Float32, Mask]]
    ) -> tuple[Float32, Mask]:
        """A scan by store and key, made where it is not there; its arrays are read-only."""
        with self._lock:
            if key in self.scans:
                self.scans.move_to_end(key)
                return self.scans[key]
        value = make()  # outside the lock, so that threads align scans side by side
        for array in value:
            array.setflags(write=False)
        with self._lock:
            if key not in self.scans:
                self.scans[key] = value
                self.bytes += value[0].nbytes
            while self.bytes > self.limit and len(self.scans) > 1:
                self.bytes -= self.scans.popitem(last=False)[1][0].nbytes
        return value
