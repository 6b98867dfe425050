"""What a network reads of people: arrays of one row a person, or all windows of their scans.

Shapes: n people, B batch, P features, R ROIs, T frames of a window, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainjepa_core.evaluation.readout.latent import WholeScans, blank_windows
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


class ScanInputs:
    """All windows of a person, in training as in prediction, as a read-out sums over them.

    Arguments are windows [n, R, T], or of volumes [n, T, X, Y, Z]; the blank window that each is
    read against; valid tokens [n, N], valid ROIs [n, R], the place among the rows of each window's
    person [n], and the labels of each person [B].

    Parameters
    ----------
    windows : WholeScans
    people : ndarray of int64 [n]
        Number among the windows of each row.
    patch : int
        p, frames of a token.
    *labels : ndarray of int64 [n]
        What else is to be known of each row, such as its hospital.
    """

    def __init__(
        self,
        windows: WholeScans,
        people: NDArray[np.int64],
        patch: int,
        *labels: NDArray[np.int64],
    ) -> None:
        self._windows, self._people, self._patch = windows, people, patch
        self._labels = labels

    def draw(self, rows: Sequence[int], seeds: Sequence[Seed]) -> Arguments:
        """All windows of the rows, whatever the seeds."""
        labels = (torch.from_numpy(label[list(rows)]) for label in self._labels)
        return *self.windows_of(rows), *labels

    def windows_of(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The arguments but for the labels."""
        parts: list[tuple[NDArray[np.generic], ...]] = []
        for place, row in enumerate(rows):
            for x, frames, rois in self._windows.whole_scans(int(self._people[row])):
                tokens = token_validity(frames, rois, self._patch, whole=False)
                if tokens is None:
                    whole = rois.shape[1] * frames.shape[1] // self._patch
                    tokens = np.ones((len(x), whole), bool)
                blank = blank_windows(x, frames)
                parts.append((x, blank, tokens, rois, np.full(len(x), place)))
        signal, rest, there, known, person = (
            torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)
        )
        return signal, rest, there, known, person

    def whole(self, rows: Sequence[int]) -> Iterator[tuple[list[int], Arguments]]:
        """One part a person."""
        for place, row in enumerate(rows):
            yield [place], self.draw([row], ())
