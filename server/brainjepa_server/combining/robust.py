"""Combinations that a minority of poisoned sites cannot drag away.

They need all replies at once. Replies wait on disk and are read side by side, a block of weights
at a time, so that memory stays near one reply whatever the number of sites.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_server.combining.validation import Update, require_replies
from brainjepa_server.study_folder import SPOOL

BLOCK = 1 << 18  # weights of each site in memory at a time


def trimmed_mean(values: NDArray[np.floating], trim: float) -> Float64:
    """Mean over sites [n, ...] without the largest and smallest share `trim` of each coordinate.

    At least the share asked for is cut, so that three sites with ``trim`` 0.2 lose one at either
    end; of one or two sites nothing is cut. Source: Yin et al., ICML 2018, definition 2.
    """
    n = len(values)
    cut = min(math.ceil(trim * n - 1e-9), (n - 1) // 2)
    found: Float64 = np.sort(values, axis=0)[cut : n - cut].mean(axis=0, dtype=np.float64)
    return found


def coordinate_median(values: NDArray[np.floating]) -> Float64:
    """Median over sites [n, ...] of each coordinate (Yin et al., ICML 2018, definition 1)."""
    return np.median(values.astype(np.float64), axis=0)


class Spooled:
    """Trimmed mean or median of the sites' weights; every site counts the same.

    Shares are not used: a poisoned site would choose its own. The order of replies does
    not show in the result, as values are sorted first. Until `result`, replies take 4 bytes a
    weight (8 where differences travel) and site in the temporary folder.

    Parameters
    ----------
    base : mapping of str to ndarray of float32
        The round's global weights.
    combine : {"trimmed_mean", "median"}
    trim : float
        Share cut from either end by the trimmed mean.
    folder : path, optional
        Where to make the temporary folder; the system's place by default.
    """

    def __init__(
        self,
        base: Mapping[str, Float32],
        combine: Literal["trimmed_mean", "median"],
        trim: float = 0.2,
        folder: str | Path | None = None,
    ) -> None:
        self._base, self._combine, self._trim = base, combine, trim
        self._folder = tempfile.TemporaryDirectory(prefix=SPOOL, dir=folder)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._files: list[Path] = []
        self._dtype = np.dtype(np.float32)

    def add(self, update: Update) -> None:
        """Put one site's weights on disk."""
        path = Path(self._folder.name) / f"{len(self._files):06d}"
        with path.open("wb") as file:
            for name, value in update.values(self._base):
                self._shapes[name], self._dtype = value.shape, value.dtype
                file.write(np.ascontiguousarray(value).data)
        self._files.append(path)

    def result(self) -> dict[str, Float64]:
        """The combined weights, float64; the temporary folder is removed.

        Raises
        ------
        ValueError
            If nothing was added.
        """
        require_replies(len(self._files))
        with self._folder, ExitStack() as stack:
            replies = [stack.enter_context(path.open("rb")) for path in self._files]
            combined = {name: self._array(replies, shape) for name, shape in self._shapes.items()}
        self._files = []
        return combined

    def _array(self, replies: Sequence[IO[bytes]], shape: tuple[int, ...]) -> Float64:
        """The next array of every reply, combined."""
        found = np.empty(math.prod(shape), np.float64)
        for block in _blocks(found.size):
            count = block.stop - block.start
            values = np.stack([np.fromfile(file, self._dtype, count) for file in replies])
            if self._combine == "median":
                found[block] = coordinate_median(values)
            else:
                found[block] = trimmed_mean(values, self._trim)
        return found.reshape(shape)


def _blocks(size: int) -> Iterator[slice]:
    for start in range(0, size, BLOCK):
        yield slice(start, min(start + BLOCK, size))
