"""Bringing scans of different repetition times to one: as published, or without aliasing.

Shapes: R ROIs, F frames of a scan, T frames of a window.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, upfirdn

from brainjepa_core.arrays import Float32

MAX_DENOMINATOR = 1000  # makes 0.735 s to 2 s (147/400) and to 2.2 s (147/440) exact
MAX_RATIO = 20.0  # TRs further apart than this are in different units
HALF_LENGTH = 10  # zero crossings on either side of the interpolation filter


def resample(series: NDArray[np.floating], tr: float, target_tr: float) -> Float32:
    """Resample a scan to another TR behind a low-pass at the lower Nyquist frequency.

    In simulation (TR 0.735 s to 2.2 s) connectivity then correlates 0.93 with the noise-free one,
    against 0.78 when frames are skipped, since what lies above the new Nyquist frequency folds
    back otherwise.

    Parameters
    ----------
    series : ndarray [R, F]
        Finite; NaN rows stay NaN.
    tr, target_tr : float
        Seconds.

    Returns
    -------
    ndarray [R, F * tr / target_tr]
        float32. The first frame stays where it is; ends are extended by odd reflection, so that
        the filter does not ring into them.

    Raises
    ------
    ValueError
        If one TR is more than 20 times the other.
    """
    up, down = _ratio(tr, target_tr)
    if up == down:
        return np.ascontiguousarray(series, np.float32)
    half = HALF_LENGTH * max(up, down)
    taps = up * firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0))
    for phase in range(up):  # a constant stays what it is between frames, too
        taps[phase::up] /= taps[phase::up].sum()
    margin = -(-half // up)
    extended = np.pad(
        np.asarray(series, np.float64), ((0, 0), (margin, margin)), "reflect", reflect_type="odd"
    )
    # Leading zeros put the first frame on one of the frames that `down` keeps: only those are
    # computed.
    first = half + margin * up
    lead = -first % down
    filtered = upfirdn(np.concatenate([np.zeros(lead), taps]), extended, up, down, axis=1)
    start = (first + lead) // down
    length = resampled_frames(series.shape[1], tr, target_tr)
    return np.ascontiguousarray(filtered[:, start : start + length], np.float32)


def resampled_frames(frames: int, tr: float, target_tr: float) -> int:
    """Frames that `resample` makes of a scan: those that lie within it."""
    up, down = _ratio(tr, target_tr)
    return (frames - 1) * up // down + 1


def _ratio(tr: float, target_tr: float) -> tuple[int, int]:
    """Frames after resampling per frames before it."""
    if not 1 / MAX_RATIO <= tr / target_tr <= MAX_RATIO:
        raise ValueError(
            f"expected TRs within a factor of {MAX_RATIO:g} of one another, found {tr} s and "
            f"{target_tr} s; check the unit of the TR (seconds)"
        )
    ratio = Fraction(tr / target_tr).limit_denominator(MAX_DENOMINATOR)
    return ratio.numerator, ratio.denominator


def official_stride(tr: float, target_tr: float) -> int:
    """Frames between two frames of a published window: TR 0.735 s to about 2 s is 3."""
    return max(1, round(target_tr / tr))


def official_indices(frames: int, length: int, stride: int, start: int) -> NDArray[np.int64]:
    """Frames of a published window: `length` of them spread over ``length * stride`` frames.

    The first is `start`, the last the last of those ``length * stride`` frames.

    Parameters
    ----------
    frames : int
        F of the scan; the window ends with it where it is too short.
    length, stride : int
        T, and frames of the scan a frame of the window.
    start : int

    Returns
    -------
    ndarray [T]
        Indices truncated to integers; never beyond the scan.
    """
    spread = np.linspace(start, start + length * stride - 1, length).astype(np.int64)
    return spread[spread < frames]
