"""What a network reads of people: one input a person in training, all of them in prediction.

Shapes: n people, B batch, P features, R ROIs, T frames of a window, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.yardstick import ScanWindows
from brainjepa_core.models.tokens import token_validity

Arguments = tuple[Tensor | None, ...]  # of a network's call
Seed = tuple[int, ...]


class Inputs(Protocol):
    """Inputs of the rows of a task."""

    def draw(self, rows: Sequence[int], seeds: Sequence[Seed]) -> Arguments:
        """One input of each row; equal seeds give equal inputs."""

    def whole(self, rows: Sequence[int]) -> Iterator[tuple[list[int], Arguments]]:
        """All inputs of the rows in parts, and the place among `rows` that each one is of."""


class ArrayInputs:
    """Arrays that hold one input a person.

    Parameters
    ----------
    *arrays : ndarray [n, ...]
        One row a row of the task; floating ones become float32.
    batch : int
        People of a part.
    """

    def __init__(self, *arrays: NDArray[np.generic], batch: int = 256) -> None:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        self._arrays = [t.float() if t.is_floating_point() else t for t in tensors]
        self._batch = batch

    def draw(self, rows: Sequence[int], seeds: Sequence[Seed]) -> Arguments:
        """The rows' inputs, whatever the seeds."""
        return tuple(array[list(rows)] for array in self._arrays)

    def whole(self, rows: Sequence[int]) -> Iterator[tuple[list[int], Arguments]]:
        """The rows' inputs, `batch` at a time."""
        for first in range(0, len(rows), self._batch):
            part = list(rows[first : first + self._batch])
            yield list(range(first, first + len(part))), self.draw(part, ())


class DrawnWindows(ScanWindows, Protocol):
    """What learning from labels asks of data: windows drawn at random too."""

    def batch(
        self, subjects: Sequence[int], seeds: Sequence[Seed]
    ) -> tuple[Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        """Windows [B, R, T], valid frames [B, T] and valid ROIs [B, R]."""


class WindowInputs:
    """A random window of a person in training, all windows side by side in prediction.

    Parameters
    ----------
    windows : DrawnWindows
    people : ndarray of int64 [n]
        Number among the windows of each row.
    patch : int
        p, frames of a token.
    """

    def __init__(self, windows: DrawnWindows, people: NDArray[np.int64], patch: int) -> None:
        self._windows, self._people, self._patch = windows, people, patch

    def draw(self, rows: Sequence[int], seeds: Sequence[Seed]) -> Arguments:
        """Windows [B, R, T] and valid tokens [B, N] (None where all are)."""
        return self._arguments(*self._windows.batch([int(self._people[r]) for r in rows], seeds))

    def whole(self, rows: Sequence[int]) -> Iterator[tuple[list[int], Arguments]]:
        """One part a person."""
        for place, row in enumerate(rows):
            x, frames, rois = self._windows.full_windows(int(self._people[row]))
            yield [place] * len(x), self._arguments(x, frames, rois)

    def _arguments(
        self, x: Float32, frames: NDArray[np.bool_], rois: NDArray[np.bool_]
    ) -> Arguments:
        valid = token_validity(frames, rois, self._patch)
        return torch.from_numpy(x), None if valid is None else torch.from_numpy(valid)
