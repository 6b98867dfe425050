"""Bringing signals of different scanners to one scale.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.usable import centred_rows, live_by_moments, live_rois, spread_of

CLIP = 10.0  # robust units; a spike further out says nothing more
POOLED_FRAMES = 200  # frames of a scan that enter the pooled quantiles
POOLED_TOTAL = 100_000  # frames of all scans that do: 180 MB at 450 ROIs, however large the site
RESOLVED = 1e-6  # range over scans, against the median ROI's, below which it is rounding
DEMEANED = 1e-3  # mean over spread below which a scan has lost its baseline


@dataclass(frozen=True)
class RobustScale:
    """Median and interquartile range of each ROI, [R] each, over people of a site."""

    median: Float64
    iqr: Float64

    def apply(self, series: NDArray[np.floating]) -> Float32:
        """``(series - median) / iqr``, clipped at +-10; NaN where an ROI has no signal."""
        x = np.asarray(series, np.float64)
        iqr = np.where(live_rois(x), self.iqr, np.nan)
        scaled = (x - self.median[:, None]) / iqr[:, None]
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


def zscore(series: NDArray[np.floating]) -> Float32:
    """Every ROI of a scan to mean 0 and standard deviation 1, clipped at +-10.

    An ROI without a signal (see `live_rois`) becomes a row of NaN.
    """
    x = np.asarray(series)
    mean, spread = np.empty(len(x)), np.empty(len(x))
    scaled = np.empty(x.shape, np.float32)
    for rows, centred, level in centred_rows(x):
        mean[rows], spread[rows] = level, spread_of(centred)
        centred *= (1 / np.where(spread[rows] > 0, spread[rows], np.nan))[:, None]
        scaled[rows] = np.clip(centred, -CLIP, CLIP, out=centred)
    scaled[~live_by_moments(mean, spread)] = np.nan
    return scaled


def pooled_scale(scans: Iterable[NDArray[np.floating]], count: int = 1) -> RobustScale:
    """Median and IQR of each ROI over frames of all scans of a site.

    Parameters
    ----------
    scans : iterable of ndarray [R, F]
        At most 200 evenly spaced frames of each are read.
    count : int
        How many scans there are: of more than 500, fewer frames of each are read.

    Raises
    ------
    ValueError
        If no ROI varies.
    """
    most = max(1, min(POOLED_FRAMES, POOLED_TOTAL // count))
    parts = []
    for series in scans:
        frames = series.shape[1]
        chosen = np.linspace(0, frames - 1, min(frames, most)).astype(np.int64)
        parts.append(np.asarray(series[:, chosen], np.float32))
    return _robust(np.concatenate(parts, axis=1))


def official_scale(scans: Iterable[NDArray[np.floating]]) -> RobustScale:
    """Median and IQR over scans of each ROI's temporal mean, as published.

    Raises
    ------
    ValueError
        If the scans are demeaned: the spread of means is then rounding error, and scaled values
        reach 1e14. Or if no mean differs, as with a single scan.
    """
    means, spreads = [], []
    for series in scans:
        means.append(np.asarray(series, np.float64).mean(1))
        spreads.append(np.asarray(series, np.float64).std(1))
    level, spread = np.abs(np.stack(means)), np.stack(spreads)
    if np.nanmedian(level) < DEMEANED * np.nanmedian(spread):
        raise ValueError(
            "expected scans with their baseline for the 'official' scaling, found demeaned ones; "
            "choose scaling 'pooled' or 'zscore'"
        )
    return _robust(np.stack(means, axis=1))


def _robust(values: NDArray[np.floating]) -> RobustScale:
    """Quantiles along the last axis; an ROI that nobody has, or without spread, gets NaN."""
    result = np.full((3, len(values)), np.nan)
    seen = np.isfinite(values).any(1)
    if seen.any():
        result[:, seen] = np.nanquantile(values[seen], [0.25, 0.5, 0.75], axis=1)
    low, median, high = result
    iqr = high - low
    varies = iqr > 0
    if not varies.any():
        raise ValueError(
            f"expected values that differ, found none with a spread among {values.shape[1]}; "
            "choose scaling 'zscore', or give more scans"
        )
    return RobustScale(median, np.where(iqr > RESOLVED * np.median(iqr[varies]), iqr, np.nan))
