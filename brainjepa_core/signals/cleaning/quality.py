"""Numbers that tell how good a scan is, and which of them keep it out of the store.

Shapes: R ROIs, F frames as measured, F' frames after cleaning.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.cleaning.dvars import dvars
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.scan import RawScan
from brainjepa_core.usable import MIN_FRAMES, MIN_ROIS, live_rois

LEAST_TSNR = 0.01  # an image around 0 has no mean; one of positive signals never is so near to it
LEAST = ("tsnr", "seconds")  # rules that set a least value; others set a largest one


def scan_quality(raw: RawScan, cleaned: NDArray[np.floating]) -> dict[str, float]:
    """Numbers of one scan.

    Parameters
    ----------
    raw : RawScan
    cleaned : ndarray [R, F']
        What training would see; a row of NaN is a missing ROI. Shorter than the scan where
        censored frames were left out.

    Returns
    -------
    dict of float
        ``tr`` (s); ``frames`` and ``seconds`` after cleaning; ``dropped`` (frames left out by it);
        ``censored`` (share of the frames); ``mean_fd`` and ``max_fd`` (mm, without the first
        frame, which has no predecessor); ``dvars`` (%, mean over the same frames); ``tsnr``;
        ``coverage_mean`` and ``coverage_min`` over ROIs; ``missing_rois`` and ``dead_rois``
        (counts: without data; with data, but no signal); ``fc_mean`` (mean correlation of two
        ROIs); ``masked`` (1 with a brain mask, 0 without).
        What is not known is not in it.
    """
    missing = np.isnan(cleaned).all(1)
    usable = live_rois(cleaned)
    known: dict[str, float] = {
        "tr": raw.tr,
        "frames": cleaned.shape[1],
        "seconds": cleaned.shape[1] * raw.tr,
        "dropped": raw.series.shape[1] - cleaned.shape[1],
        "censored": raw.censored,
        "tsnr": raw.tsnr if abs(raw.tsnr) > LEAST_TSNR else np.nan,
        "coverage_mean": raw.coverage.mean(),
        "coverage_min": raw.coverage.min(),
        "missing_rois": missing.sum(),
        "dead_rois": (~missing & ~usable).sum(),
        "fc_mean": mean_correlation(np.asarray(cleaned[usable], np.float64)),
    }
    if raw.masked is not None:
        known["masked"] = raw.masked
    if raw.fd is not None and len(raw.fd) > 1:
        known |= {"mean_fd": raw.fd[1:].mean(), "max_fd": raw.fd[1:].max()}
    if (change := dvars(raw.series)) is not None:
        known["dvars"] = change[1:].mean()
    return {name: float(value) for name, value in known.items() if np.isfinite(value)}


def mean_correlation(series: Float64) -> float:
    """Mean Pearson correlation of two different ROIs of [R, F]; NaN if there is none."""
    rois, frames = series.shape
    if rois < MIN_ROIS or frames < MIN_FRAMES:
        return float("nan")
    unit = series - series.mean(1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    # The sum over all pairs, each ROI with itself included, is the squared length of the sum.
    return float((np.square(unit.sum(0)).sum() - rois) / (rois * (rois - 1)))


def reasons_to_exclude(
    quality: Mapping[str, float], exclude: ExclusionSettings, rois: int
) -> list[str]:
    """Why a scan stays out of the store: one sentence a rule it breaks, none if it enters.

    Parameters
    ----------
    quality : mapping
        As `scan_quality` gives it; a rule about a number that is not known says nothing.
    exclude : ExclusionSettings
        `wrong_order` is not looked at here: order is not one of these numbers.
    rois : int
        R.

    Returns
    -------
    list of str
        Such as ``mean FD 0.71 mm, at most 0.5 allowed (exclude.mean_fd)``.
    """
    gone = (quality.get("missing_rois", 0.0) + quality.get("dead_rois", 0.0)) / rois
    rules = (
        ("mean_fd", "mean FD {} mm", quality.get("mean_fd")),
        ("censored", "share of censored frames {}", quality.get("censored")),
        ("missing_rois", "share of ROIs without a signal {}", gone),
        ("tsnr", "tSNR {}", quality.get("tsnr")),
        ("seconds", "length {} s", quality.get("seconds")),
    )
    reasons = []
    for field, text, value in rules:
        limit = getattr(exclude, field)
        if value is None or limit is None:
            continue
        if value < limit if field in LEAST else value > limit:
            rule = (
                f"at least {limit:g} required" if field in LEAST else f"at most {limit:g} allowed"
            )
            reasons.append(f"{text.format(_unlike(value, limit))}, {rule} (exclude.{field})")
    return reasons


def _unlike(value: float, limit: float) -> str:
    """Two decimals, or as many as it takes not to look like the limit."""
    texts = (f"{round(value, digits):.12g}" for digits in range(2, 10))
    return next((text for text in texts if float(text) != limit), repr(value))
