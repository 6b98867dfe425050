"""Bringing scans of different repetition times to one: as published, or without aliasing.

Shapes: R ROIs, F frames of a scan, T frames of a window.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from brainjepa_core.arrays import Float32, Float64

MAX_DENOMINATOR = 1000  # makes 0.735 s to 2 s (147/400) and to 2.2 s (147/440) exact
MAX_RATIO = 20.0  # TRs further apart than this are in different units
HALF_LENGTH = 10  # zero crossings on either side of the interpolation filter
KAISER = ("kaiser", 5.0)


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
    x = np.asarray(series, np.float32)
    # Sparse and without BLAS, whose last bits follow the number of threads and of rows.
    return np.ascontiguousarray((_filter(x.shape[1], up, down) @ x.T).T)


@lru_cache(maxsize=256)  # some 100 kB each: a site has few lengths of scans
def _filter(frames: int, up: int, down: int) -> csr_array:
    """Weights [made, F] of a scan's frames in those that are made of it, as float32."""
    taps, half = _taps(up, down), HALF_LENGTH * max(up, down)
    # Frame k that is made lies at k * down / up; every frame within reach has a share in it.
    made = np.arange((frames - 1) * up // down + 1)
    reach = np.arange(-(half // up) - 1, half // up + 2)
    near = (made * down // up)[:, None] + reach
    place = half + (made * down)[:, None] - near * up
    share = np.where((place >= 0) & (place < len(taps)), taps[place.clip(0, 2 * half)], 0.0)
    weights = _within_scan(np.broadcast_to(made[:, None], near.shape), near, share, frames)
    weights.eliminate_zeros()
    return weights.astype(np.float32)


@lru_cache(maxsize=256)
def _taps(up: int, down: int) -> Float64:
    """Low-pass at the lower Nyquist frequency, on a grid of ``up`` places a frame."""
    from scipy.signal import firwin  # brings all of scipy.stats, which most starts need not

    taps: Float64 = firwin(2 * HALF_LENGTH * max(up, down) + 1, 1 / max(up, down), window=KAISER)
    for phase in range(up):  # a constant stays what it is between frames, too
        taps[phase::up] /= taps[phase::up].sum()
    return taps


def _within_scan(
    made: NDArray[np.int64], near: NDArray[np.int64], share: Float64, frames: int
) -> csr_array:
    """Weights [made, F] by shares [made, K] of frames `near`, some of which are beyond the ends.

    Ends are extended by odd reflection, ``x[-k] = 2 x[0] - x[k]``, again and again where a scan is
    short: frame ``i = 2 L q + r`` is ``x[r]``, or beyond the last one L ``2 x[L] - x[2 L - r]``,
    and ``2 q (x[L] - x[0])`` higher.
    """
    last = frames - 1
    rise, rest = np.divmod(near, max(2 * last, 1))
    beyond = rest > last
    parts = [
        (np.where(beyond, 2 * last - rest, rest), share * (1 - 2 * beyond)),
        (np.full_like(near, last), share * (2 * rise + 2 * beyond)),
        (np.zeros_like(near), share * (-2 * rise)),
    ]
    values, rows, columns = (
        np.concatenate([part.ravel() for part in each])
        for each in ([value for _, value in parts], [made] * 3, [frame for frame, _ in parts])
    )
    shape = (int(made[-1, 0]) + 1, frames)
    return csr_array(coo_array((values, (rows, columns)), shape=shape))


def resampled_frames(frames: int, tr: float, target_tr: float) -> int:
    """Frames that `resample` makes of a scan: those that lie within it."""
    up, down = _ratio(tr, target_tr)
    return (frames - 1) * up // down + 1


@lru_cache(maxsize=256)
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
