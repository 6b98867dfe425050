"""Tokens that carry a signal: an ROI that exists over frames that were recorded.

Shapes: B batch, R ROIs, T frames, p patch length, W = T / p, N = R * W tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def token_validity(
    frame_valid: NDArray[np.bool_],
    roi_valid: NDArray[np.bool_],
    patch: int,
    *,
    whole: bool = True,
) -> NDArray[np.bool_] | None:
    """Which tokens of windows carry a signal.

    Parameters
    ----------
    frame_valid : ndarray [B, T]
        bool; False for padded frames.
    roi_valid : ndarray [B, R]
        bool; False for missing ROIs.
    patch : int
        p, frames a token.
    whole : bool
        A token counts if all its frames are real; else if any is.

    Returns
    -------
    ndarray [B, N] or None
        bool; a token counts if its ROI exists and its frames are real. None where all do, so that
        attention can run without a mask.
    """
    if frame_valid.all() and roi_valid.all():
        return None
    real = np.logical_and if whole else np.logical_or
    patches = real.reduce(frame_valid.reshape(len(frame_valid), -1, patch), axis=-1)
    found: NDArray[np.bool_] = (roi_valid[:, :, None] & patches[:, None, :]).reshape(
        len(frame_valid), -1
    )
    return found
