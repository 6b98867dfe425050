"""Bringing signals of different scanners to one scale.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CLIP = 10.0  # robust units; a spike further out says nothing more
POOLED_FRAMES = 200  # frames of a scan that enter the pooled quantiles
DEAD = 1e-6  # spread, against the median ROI's, below which an ROI has no signal
DEMEANED = 1e-3  # mean over spread below which a scan has lost its baseline


@dataclass(frozen=True)
class RobustScale:
    """Median and interquartile range of each ROI, [R] each, over people of a site."""

    median: NDArray[np.float64]
    iqr: NDArray[np.float64]

    def apply(self, series: NDArray[np.floating]) -> Array:
        """``(series - median) / iqr``, clipped at +-10."""
        scaled = (series - self.median[:, None]) / self.iqr[:, None]
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


def zscore(series: NDArray[np.floating]) -> Array:
    """Every ROI of a scan to mean 0 and standard deviation 1, clipped at +-10.

    An ROI without a signal (missing, constant, or far below the others) becomes a row of NaN.
    """
    x = np.asarray(series, np.float64)
    mean, spread = x.mean(1, keepdims=True), x.std(1, keepdims=True)
    known = spread[np.isfinite(spread)]
    floor = DEAD * np.median(known) if known.size else 0.0
    spread[~(spread > floor)] = np.nan
    return np.clip((x - mean) / spread, -CLIP, CLIP).astype(np.float32)


def pooled_scale(scans: Iterable[NDArray[np.floating]]) -> RobustScale:
    """Median and IQR of each ROI over frames of all scans of a site.

    Parameters
    ----------
    scans : iterable of ndarray [R, F]
        At most 200 evenly spaced frames of each are read.
    """
    parts = []
    for series in scans:
        step = max(1, series.shape[1] // POOLED_FRAMES)
        parts.append(np.asarray(series[:, ::step], np.float64))
    return _robust(np.concatenate(parts, axis=1))


def official_scale(scans: Iterable[NDArray[np.floating]]) -> RobustScale:
    """Median and IQR over scans of each ROI's temporal mean, as published.

    Raises
    ------
    ValueError
        If the scans are demeaned: the spread of means is then rounding error, and scaled values
        reach 1e14.
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


def _robust(values: NDArray[np.float64]) -> RobustScale:
    """Quantiles along the last axis; an ROI that nobody has, or without spread, gets NaN."""
    result = np.full((3, len(values)), np.nan)
    seen = np.isfinite(values).any(1)
    if seen.any():
        result[:, seen] = np.nanquantile(values[seen], [0.25, 0.5, 0.75], axis=1)
    low, median, high = result
    iqr = high - low
    floor = DEAD * np.nanmedian(iqr) if seen.any() else 0.0
    return RobustScale(median, np.where(iqr > floor, iqr, np.nan))
