"""The rest of a person's scans: all that a window leaves, as one connectivity.

What an objective predicts that asks for the person: a window and the rest share no frame, so what
the one tells of the other is whose scans they are.

Shapes: R ROIs, F frames of a part.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32
from brainjepa_core.usable import MIN_FRAMES

R_MAX = np.float32(1 - 1e-6)  # |r| is cut here before arctanh, as float32 resolves it


def rest_connectivity(parts: Iterable[tuple[Float32, NDArray[np.bool_]]]) -> Float32:
    """Fisher z of each pair of ROIs over some parts of a person's scans.

    Parameters
    ----------
    parts : iterable of (ndarray of float32 [R, F], ndarray of bool [R])
        Signals of each scan, and its ROIs that are there. F may differ: Fisher z of a scan counts
        by its frames, as its precision grows with them. Fewer than 3 frames count nothing.

    Returns
    -------
    ndarray of float32 [R, R]
        Symmetric; 0 on the diagonal, NaN for pairs that no part shows.
    """
    total: Float32 | float = 0.0
    frames: Float32 | float = 0.0
    for series, valid in parts:
        if series.shape[1] < MIN_FRAMES:
            continue
        centred = np.where(valid[:, None], series - series.mean(1, keepdims=True), np.float32(0))
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        shown = valid & (length[:, 0] > 0)
        unit = centred / np.where(shown[:, None], length, np.float32(1))
        weight = np.float32(series.shape[1]) * np.outer(shown, shown).astype(np.float32)
        total = total + weight * np.arctanh(np.clip(unit @ unit.T, -R_MAX, R_MAX))
        frames = frames + weight
    seen = np.asarray(frames) > 0
    found: Float32 = np.full(seen.shape, np.nan, np.float32)
    np.divide(total, frames, out=found, where=seen)
    np.fill_diagonal(found, 0)
    return found
