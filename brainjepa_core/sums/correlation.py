"""Functional connectivity of one scan: which ROIs hold a signal, and how they correlate.

Shapes: R ROIs, F frames of a scan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.rois import name_rois
from brainjepa_core.usable import MIN_FRAMES, MIN_ROIS, NEAR_DEAD, live_rois

R_MAX = 1 - 1e-7  # |r| is cut here before arctanh: identical series count as z = 8.4, not infinity


def fisher_z(r: ArrayLike) -> Float64:
    """Fisher z of correlations, ``arctanh(r)`` with ``|r|`` cut at ``1 - 1e-7``.

    Parameters
    ----------
    r : array_like
        Correlations.

    Returns
    -------
    ndarray of float64
        Same shape, ``|z| <= 8.41``.
    """
    z = np.clip(np.asarray(r, dtype=np.float64), -R_MAX, R_MAX)
    # In place, here and below: fresh memory for each step of a scan costs as much as its sums.
    found: Float64 = np.arctanh(z, out=z) if z.ndim else np.arctanh(z)
    return found


def dead_rois(
    series: ArrayLike,
    frame_valid: ArrayLike | None = None,
    missing: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """ROIs without a usable signal: missing, or not among `brainjepa_core.usable.live_rois`.

    One with gaps (NaN or infinity in some frames) is not among them: it is for the caller to
    complain about.

    Parameters
    ----------
    series : array_like, shape (R, F)
        ROI time series in common units (before any scaling per ROI). A row of NaN is an ROI
        without data.
    frame_valid : array_like of bool, shape (F,), optional
        Frames to use; all by default.
    missing : array_like of bool, shape (R,), optional
        ROIs already known to be missing; their values are not looked at.

    Returns
    -------
    ndarray of bool, shape (R,)
        To be passed as ``missing`` to `ConnectivitySum.add_scan`.

    Raises
    ------
    ValueError
        If a shape or a mask is wrong.
    """
    kept = valid_frames(series, frame_valid)
    gone: NDArray[np.bool_] = np.logical_and.reduce(np.isnan(kept), axis=1)
    if missing is not None:
        gone |= bool_mask(missing, len(kept), "missing")
    known = np.where(gone[:, None], np.nan, kept)
    gaps = ~gone & ~np.isfinite(known).all(axis=1)
    dead: NDArray[np.bool_] = ~(live_rois(known) | gaps)
    return dead


def functional_connectivity(
    series: ArrayLike, frame_valid: ArrayLike | None = None, rois: Sequence[str] | None = None
) -> Float64:
    """Pearson correlation between the ROIs of one scan.

    Parameters
    ----------
    series : array_like, shape (R, F)
        ROI time series. Any positive scale per ROI gives the same answer, as long as no ROI
        falls under 5 % of the median SD.
    frame_valid : array_like of bool, shape (F,), optional
        Frames to use, at least 3; all by default.
    rois : sequence of str, optional
        ROI names, for errors.

    Returns
    -------
    ndarray of float64, shape (R, R)
        Exactly symmetric, diagonal exactly 1, within [-1, 1].

    Raises
    ------
    ValueError
        If the shapes are wrong, a value is not finite, or an ROI is dead or nearly dead.
    """
    kept = valid_frames(series, frame_valid)
    bad = np.flatnonzero(~np.isfinite(kept).all(axis=1))
    if bad.size:
        raise ValueError(
            f"expected finite values in every valid frame, found NaN or infinity in "
            f"{name_rois(bad, rois)}; mark those ROIs as missing or those frames as not valid"
        )
    dead = np.flatnonzero(dead_rois(kept))
    if dead.size:
        raise ValueError(
            f"expected every ROI to vary, found (nearly) constant series, under "
            f"{NEAR_DEAD:.0%} of the scan's median SD, in {name_rois(dead, rois)}; mark them as "
            "missing (dead_rois finds them)"
        )
    unit = kept - kept.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    once = unit @ unit.T
    r: Float64 = once + once.T
    r /= 2
    np.clip(r, -1.0, 1.0, out=r)
    np.fill_diagonal(r, 1.0)
    return r


def bool_mask(mask: ArrayLike, length: int, name: str) -> NDArray[np.bool_]:
    """`mask` as a boolean array of `length`, or a ValueError that speaks of `name`."""
    array = np.asarray(mask)
    if array.dtype != np.bool_ or array.shape != (length,):
        raise ValueError(
            f"expected '{name}' as {length} booleans, found {array.dtype} with shape {array.shape}"
        )
    return array


def valid_frames(series: ArrayLike, frame_valid: ArrayLike | None) -> Float64:
    """The valid frames of a scan [R, F'] as float64."""
    kept = np.asarray(series, dtype=np.float64)
    if kept.ndim != 2:
        raise ValueError(f"expected series with shape (ROIs, frames), found shape {kept.shape}")
    if frame_valid is not None:
        kept = kept[:, bool_mask(frame_valid, kept.shape[1], "frame_valid")]
    if kept.shape[0] < MIN_ROIS or kept.shape[1] < MIN_FRAMES:
        raise ValueError(
            f"expected at least {MIN_ROIS} ROIs and {MIN_FRAMES} valid frames, found "
            f"{kept.shape[0]} ROIs and {kept.shape[1]} valid frames"
        )
    return kept
