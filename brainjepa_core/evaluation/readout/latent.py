"""Latent connectivity: which ROIs a network answers alike over all scans of a person.

A token is mostly its position. What is left when the network's response to a blank window is taken
out is its answer to the signal; the correlation of two ROIs' answers, over windows, time and
features, is a connectivity. Of a network that keeps signals as they are, it is that of the signals.

Shapes: n windows of a scan, R ROIs, T frames of a window, W time patches, N = R * W tokens, D
width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.readout.connectivity import Part, connectivity_of
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.tokens import token_validity

Mask = NDArray[np.bool_]
BLANKS = 16  # responses kept: people of a site share them
ROUNDING = 1e-5  # of a signal's spread: a mean up to here is 0, so that blanks can be shared


class WholeScans(Protocol):
    """What reading connectivity asks of data; `brainjepa_core.signals.windows.Windows` is one."""

    def whole_scans(self, subject: int) -> list[tuple[Float32, Mask, Mask]]:
        """Each scan of a person: windows [n, R, T] that cover it, valid frames and ROIs."""


class LatentReader:
    """Reads the latent connectivity of people by one model.

    Parameters
    ----------
    model : BrainModel
        In evaluation mode; it must not change while it is read by.
    """

    def __init__(self, model: BrainModel) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._blanks: dict[bytes, Float32] = {}

    def connectivity(self, windows: WholeScans, person: int) -> Float64:
        """Latent connectivity [R, R] of a person; NaN where an ROI is missing.

        A window is blank where every ROI stays at its mean over the scan: 0 of signals that are
        z-scored. Padded frames are blank in both, so that a scan counts to its last frame.
        """
        return connectivity_of(
            part for scan in windows.whole_scans(person) for part in self._parts(*scan)
        )

    def of_window(self, window: NDArray[np.floating], known: Mask) -> Float64:
        """Latent connectivity [R, R] of one window [R, T] by itself, about its own means.

        Parameters
        ----------
        window : ndarray [R, T]
        known : ndarray of bool [R]
            ROIs that are there; NaN in rows and columns of the others.
        """
        x = np.asarray(window, np.float64)
        centred = np.where(known[:, None], x - x.mean(1, keepdims=True), 0).astype(np.float32)
        frames = np.ones((1, x.shape[1]), bool)
        return connectivity_of(self._parts(centred[None], frames, known[None]))

    def _parts(self, x: Float32, frame_valid: Mask, roi_valid: Mask) -> Iterator[Part]:
        rest, shape = blank_windows(x, frame_valid), self._model.settings
        for window, blank, frames, rois in zip(x, rest, frame_valid, roi_valid, strict=True):
            valid = token_validity(frames[None], rois[None], shape.patch, whole=False)
            there = np.arange(shape.tokens) if valid is None else np.flatnonzero(valid)
            answers = self._latents(window, there) - self._blank(blank, there)
            tokens = np.zeros((shape.tokens, answers.shape[1]), np.float32)
            tokens[there] = answers
            yield Part(tokens.reshape(shape.rois, -1), rois)

    def _latents(self, window: Float32, there: NDArray[np.int64]) -> Float32:
        """Tokens [n, D] of a window [R, T]: those that are there."""
        x, index = (torch.from_numpy(array[None]).to(self._device) for array in (window, there))
        found: Float32 = self._model.latents(x, index)[0].float().cpu().numpy()
        return found

    def _blank(self, blank: Float32, there: NDArray[np.int64]) -> Float32:
        key = blank.tobytes() + there.tobytes()
        if key not in self._blanks:
            while len(self._blanks) >= BLANKS:
                del self._blanks[next(iter(self._blanks))]  # the oldest
            self._blanks[key] = self._latents(blank, there)
        return self._blanks[key]


def blank_windows(x: Float32, frame_valid: Mask) -> Float32:
    """Windows [n, R, T] of a scan with every ROI at its mean; 0 in frames that are not valid.

    Of windows of volumes [n, T, X, Y, Z] the same with every voxel at its mean.
    """
    of_volumes = x.ndim > 3
    by_frame = x if of_volumes else np.moveaxis(x, 1, 2)
    frames = by_frame[frame_valid].astype(np.float64)  # [valid frames, R] or [..., X, Y, Z]
    mean, spread = frames.mean(0), frames.std(0)
    level = np.where(np.abs(mean) > ROUNDING * spread, mean, 0).astype(np.float32)
    there = frame_valid.astype(np.float32).reshape(*frame_valid.shape, *[1] * level.ndim)
    blank: Float32 = level * there
    return blank if of_volumes else np.moveaxis(blank, 2, 1)
