"""Resampling and scaling of a scan step by step, as textbooks write them; slow."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal import firwin, upfirdn

HALF_LENGTH = 10
CLIP = 10.0


def resampled_by_filter(series: np.ndarray, tr: float, target_tr: float) -> np.ndarray:
    """Zeros between frames, a low-pass over all of them, and every so manieth frame; float64."""
    ratio = Fraction(tr / target_tr).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    half = HALF_LENGTH * max(up, down)
    taps = up * firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0))
    for phase in range(up):
        taps[phase::up] /= taps[phase::up].sum()
    margin = -(-half // up)
    wide = ((0, 0), (margin, margin))
    extended = np.pad(np.asarray(series, np.float64), wide, "reflect", reflect_type="odd")
    first = half + margin * up
    lead = -first % down
    filtered = upfirdn(np.concatenate([np.zeros(lead), taps]), extended, up, down, axis=1)
    start = (first + lead) // down
    return filtered[:, start : start + (series.shape[1] - 1) * up // down + 1]


def zscore_in_two_passes(series: np.ndarray) -> np.ndarray:
    """Mean 0 and SD 1 a row, clipped, in float64; every row has to hold a signal."""
    x = np.asarray(series, np.float64)
    return np.clip((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), -CLIP, CLIP)


def aligned_by_hand(series: np.ndarray, tr: float, target_tr: float) -> np.ndarray:
    """A scan as ``antialias`` and ``zscore`` bring it to a window's TR; float32."""
    scaled = zscore_in_two_passes(series).astype(np.float32)
    if tr == target_tr:
        return scaled
    resampled = resampled_by_filter(scaled, tr, target_tr).astype(np.float32)
    return zscore_in_two_passes(resampled).astype(np.float32)
