"""Cleaning ROI signals: censoring, band-pass and regression, each by nilearn where it is right.

Averages over voxels and regressions over frames commute, so that cleaning R ROI signals gives what
cleaning a hundred thousand voxels before averaging them would.

Shapes: R ROIs, F frames, C regressors.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
from nilearn.signal import clean
from scipy.interpolate import CubicSpline, make_interp_spline

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.preparation import CleaningSettings
from brainjepa_core.signals.scan import Mask, RawScan
from brainjepa_core.usable import MIN_FRAMES, UnusableScan

LEAST_FREE = 5  # frames that must remain after censoring beyond the number of regressors


def clean_series(scan: RawScan, settings: CleaningSettings) -> Float64:
    """Take confounds and censored frames out of a scan; each ROI keeps its mean.

    Regression is fitted on the frames kept. Censored frames are filled by a cubic spline before a
    band-pass, as nilearn means to: its own filling (0.13) takes an index for a mask and leaves a
    censored frame as it was whenever the frame mirrored at the middle of the scan is censored too.
    What is kept of censored frames in the end is a straight line between their neighbours, since a
    cubic spline overshoots in long gaps.

    Parameters
    ----------
    scan : RawScan
    settings : CleaningSettings

    Returns
    -------
    ndarray of float64 [R, F]
        Or fewer frames where ``censored: drop``. Rows of NaN stay.

    Raises
    ------
    ValueError
        If the band does not fit the TR; an `UnusableScan` if too few frames are left for the
        regressors.
    """
    here = np.isfinite(scan.series).all(1)
    cleaned = np.full(scan.series.shape, np.nan)
    frames = scan.series.shape[1]
    keep = np.ones(frames, bool) if scan.keep is None else scan.keep
    _require_frames(keep, scan.regressors)
    _require_band(settings, scan.tr)
    if here.any():
        cleaned[here] = _clean(scan.series[here].T, scan.regressors, keep, scan.tr, settings).T
    return cleaned if settings.censored == "interpolate" else cleaned[:, keep]


def _clean(
    signals: Float64, regressors: Float64 | None, keep: Mask, tr: float, settings: CleaningSettings
) -> Float64:
    """Signals [F, R] of the same length, censored frames interpolated."""
    baseline = signals[keep].mean(0)
    signals = signals - baseline  # filters keep digits that a baseline of thousands would cost
    if settings.low_pass or settings.high_pass:
        signals = _band_pass(interpolated(signals, keep, degree=3), tr, settings)
        if regressors is not None:  # else they would bring back what was filtered out
            regressors = _band_pass(interpolated(regressors, keep, degree=3), tr, settings)
    kept = signals[keep]
    if regressors is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # on how confounds are scaled
            kept = clean(kept, detrend=False, standardize=None, confounds=regressors[keep])
    result = np.empty_like(signals)
    result[keep] = kept - kept.mean(0) + baseline
    return interpolated(result, keep)


def interpolated(signals: Float64, keep: Mask, degree: int = 1) -> Float64:
    """Signals [F, any] with a spline through the frames kept in place of the others.

    Beyond the first and last frame kept, their values are held.

    Parameters
    ----------
    signals : ndarray of float64 [F, any]
    keep : ndarray of bool [F]
    degree : {1, 3}
        Straight lines, which never overshoot; or cubic (with few frames, what they allow).
    """
    if keep.all():
        return signals
    frames, kept = np.arange(len(keep)), np.flatnonzero(keep)
    shape = CubicSpline if degree == 3 else partial(make_interp_spline, k=1)
    curve = shape(kept, signals[kept])
    filled: Float64 = curve(np.clip(frames, kept[0], kept[-1]))
    filled[kept] = signals[kept]
    return filled


def _band_pass(signals: Float64, tr: float, settings: CleaningSettings) -> Float64:
    found: Float64 = clean(
        signals,
        detrend=False,
        standardize=None,
        filter="butterworth",
        low_pass=settings.low_pass,
        high_pass=settings.high_pass,
        t_r=tr,
    )
    return found


def _require_frames(keep: Mask, regressors: Float64 | None) -> None:
    count = 0 if regressors is None else regressors.shape[1]
    least = count + 1 + LEAST_FREE if count or not keep.all() else MIN_FRAMES
    if keep.sum() < least:
        raise UnusableScan(
            f"expected at least {least} frames after censoring for {count} regressors, found "
            f"{keep.sum()} of {len(keep)}; choose a simpler cleaning.preset or higher thresholds "
            "(cleaning.fd_threshold, cleaning.dvars_threshold), or leave the scan out"
        )


def _require_band(settings: CleaningSettings, tr: float) -> None:
    nyquist = 0.5 / tr
    highest = max(settings.low_pass or 0, settings.high_pass or 0)
    if highest >= nyquist:
        raise ValueError(
            f"expected low_pass and high_pass below {nyquist:.3g} Hz (half of 1/TR), found "
            f"{highest:g}; lower it"
        )
