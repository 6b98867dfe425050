"""What makes an ROI alive and a scan usable: the one definition, asked wherever scans pass.

Whoever takes, stores, scales, sums or trains on a scan asks here, so that what one place lets
through is never what stops the next one.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_FRAMES = 3  # with two frames every correlation is +1 or -1
MIN_ROIS = 2  # one ROI correlates with none
ROWS = 64  # of a scan, looked at together
NEAR_DEAD = 0.05  # share of the live ROIs' median spread up to which an ROI holds no signal
TR_RANGE = (0.1, 20.0)  # seconds; outside it is another unit
ROUNDING = float(np.finfo(np.float32).eps)  # of a mean: what float32 leaves of a constant


class UnusableScan(ValueError):
    """A scan that is whole, and yet nothing can be learned from it: one to leave out and name."""


def live_rois(series: ArrayLike) -> NDArray[np.bool_]:
    """ROIs that hold a signal: finite in all frames, and neither constant nor nearly so.

    Signal outside the field of view is often tiny rather than zero after denoising, so that a
    spread of 0 would miss it: an ROI is dead up to 5 % of the live ones' median spread. Any one
    scale for all ROIs gives the same answer.

    Parameters
    ----------
    series : array_like, shape (R, F)
        In common units. A row of NaN is an ROI without data.

    Returns
    -------
    ndarray of bool, shape (R,)
    """
    x = np.asarray(series)
    mean, spread = np.empty(len(x)), np.empty(len(x))
    for rows, centred, level in centred_rows(x):
        mean[rows], spread[rows] = level, spread_of(centred)
    return live_by_moments(mean, spread)


def centred_rows(
    series: NDArray[Any],
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """A scan by some rows at a time, less their means, so that the processor's cache holds them.

    Parameters
    ----------
    series : ndarray [R, F]

    Yields
    ------
    rows : slice
    centred : ndarray of float64 [rows, F]
        A copy. NaN, at least in part, where a row is not finite.
    mean : ndarray of float64 [rows]
    """
    frames = max(series.shape[1], 1)
    for first in range(0, len(series), ROWS):
        rows = slice(first, first + ROWS)
        centred = series[rows].astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            mean = centred.sum(axis=1) / frames
            centred -= mean[:, None]
        yield rows, centred, mean


def spread_of(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation [R] of rows of mean 0; NaN or infinite where one is not finite."""
    found: NDArray[np.float64] = np.einsum("rf,rf->r", centred, centred) / max(centred.shape[1], 1)
    return np.sqrt(found)


def live_by_moments(mean: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`live_rois` of series with these means and standard deviations [R]."""
    alive: NDArray[np.bool_] = np.isfinite(spread) & (spread > ROUNDING * np.abs(mean))
    # Dead ROIs drag the median down: repeat until the live ones stay live among themselves.
    while alive.any():
        still = alive & (spread > NEAR_DEAD * np.median(spread[alive]))
        if (still == alive).all():
            break
        alive = still
    return alive


def require_seconds(tr: float, what: str = "a repetition time") -> float:
    """Refuse a repetition time that cannot be in seconds.

    Raises
    ------
    ValueError
        If it is not between 0.1 and 20 s.
    """
    low, high = TR_RANGE
    if not low <= tr <= high:
        unit = "; 2000 would be milliseconds" if tr > high else ""
        raise ValueError(
            f"expected {what} between {low:g} and {high:g} seconds, found {tr:g}; write it in "
            f"seconds{unit}"
        )
    return tr


def why_unusable(frames: int, rois: int, least_frames: int = MIN_FRAMES) -> str:
    """Why a scan cannot be used; empty if it can.

    Parameters
    ----------
    frames : int
        Valid ones.
    rois : int
        ROIs that hold a signal (`live_rois`).
    least_frames : int
        Frames asked for; a model may need more than correlations do.

    Returns
    -------
    str
        ``expected ..., found ...; ...``, without a name.
    """
    least = max(MIN_FRAMES, least_frames)
    if frames >= least and rois >= MIN_ROIS:
        return ""
    return (
        f"expected a scan of at least {least} frames and {MIN_ROIS} ROIs with a signal, found "
        f"{frames} frames and {rois} such ROIs; leave it out, or check its extraction"
    )


def require_usable(series: NDArray[np.floating], rois: Sequence[str]) -> NDArray[np.bool_]:
    """Refuse a scan that is damaged or cannot be used; return which of its ROIs are live.

    Parameters
    ----------
    series : ndarray [R, F]
    rois : sequence of str
        R names, for the error.

    Raises
    ------
    ValueError
        If an ROI has NaN or infinity in some of its frames; an `UnusableScan` for the reasons of
        `why_unusable`.
    """
    broken = ~np.isfinite(series).all(1) & ~np.isnan(series).all(1)
    if broken.any():
        names = [rois[i] for i in np.flatnonzero(broken)[:3]]
        raise ValueError(
            "expected finite values, or NaN in all frames of a missing ROI, found some NaN or "
            f"infinity in {', '.join(names)}; interpolate the frames, or set the whole ROI to NaN"
        )
    live = live_rois(series)
    reason = why_unusable(series.shape[1], int(live.sum()))
    if reason:
        raise UnusableScan(reason)
    return live
