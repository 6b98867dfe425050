"""Connectivity as a read-out: how features of ROIs go together over all scans of a person.

Features are signals, frame by frame, or a network's responses, token by token; the correlation is
the same sum of products. Only what two ROIs show together counts for their pair.

Shapes: R ROIs, F frames of a scan, K features of an ROI in a part (a scan, or its windows),
E = R (R - 1) / 2 pairs of ROIs in the order of ``numpy.tril_indices(R, -1)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.correlation import fisher_z

SLOW_BAND = (0.01, 0.1)  # Hz; where diagnosis is told by connectivity (Biswal et al. 1995)
RESOLVED = 1e-10  # share of the largest energy below which an ROI shows rounding only
LEAST_FRAMES = 34  # that nilearn's filter of order 5 can be run over, there and back


class Part(NamedTuple):
    """Features [R, K] of a part of a person's data, and which ROIs it has [R]."""

    features: NDArray[np.floating]
    known: NDArray[np.bool_]


def connectivity_of(parts: Iterable[Part]) -> Float64:
    """Correlation of ROIs over the features of all parts, about zero.

    Parameters
    ----------
    parts : iterable of Part
        K may differ; features are taken less what is expected of them (a mean, a blank response).

    Returns
    -------
    ndarray of float64 [R, R]
        1 on the diagonal; NaN for pairs that no part shows together, and in rows and columns of
        ROIs without a signal.
    """
    products: Float64 | float = 0.0
    energy: Float64 | float = 0.0  # [i, j]: of ROI i, in parts that also show ROI j
    for features, known in parts:
        x = np.where(known[:, None], features, 0).astype(np.float64)
        products = products + x @ x.T
        energy = energy + np.outer(np.einsum("rk,rk->r", x, x), known)
    own = np.diagonal(energy)
    shown = own > RESOLVED * own.max(initial=0.0)
    scale = np.sqrt(energy * np.transpose(energy))
    together = np.outer(shown, shown) & (scale > 0)
    r = np.divide(products, scale, out=np.full(scale.shape, np.nan), where=together)
    found: Float64 = np.clip((r + r.T) / 2, -1, 1)
    found[shown, shown] = 1.0
    return found


def signal_part(
    series: NDArray[np.floating],
    known: NDArray[np.bool_],
    tr: float,
    band: tuple[float, float] | None = None,
) -> Part:
    """A scan as `connectivity_of` reads it: signals less their means.

    Parameters
    ----------
    series : ndarray [R, F]
        Each ROI of any positive scale; finite where known.
    known : ndarray of bool [R]
    tr : float
        Seconds.
    band : (float, float), optional
        Hz. By default all that the repetition time shows. A scan that is too short for a filter
        (34 frames) tells nothing of a band: none of its ROIs is known.
    """
    x = np.asarray(series, np.float64)
    if band is not None:
        if x.shape[1] < LEAST_FRAMES:
            return Part(np.zeros_like(x), np.zeros_like(known))
        x = band_pass(x, tr, band)
    return Part(x - x.mean(1, keepdims=True), known)


def band_pass(series: Float64, tr: float, band: tuple[float, float]) -> Float64:
    """Signals [R, F] within a band: nilearn's Butterworth filter, there and back.

    A band that ends above half the frames a second ends there.
    """
    # Nothing else of a message's answer needs it, and its import takes a second.
    from nilearn.signal import butterworth

    low, high = band
    found: Float64 = butterworth(
        series.T,
        sampling_rate=1 / tr,
        low_pass=high if high < 0.5 / tr else None,
        high_pass=low,
        copy=True,  # by which nilearn filters all signals at once, twenty times as fast
    ).T
    return found


def pairs_of(connectivity: Float64) -> Float64:
    """Fisher z of each pair of ROIs [E], NaN where unknown."""
    return fisher_z(connectivity[np.tril_indices(len(connectivity), -1)])


def matrix_of(pairs: ArrayLike) -> Float64:
    """Connectivity [..., R, R] whose pairs have these Fisher z [..., E]; NaN where unknown.

    The diagonal is 1 of ROIs that go together with any other, else NaN.
    """
    z = np.asarray(pairs, np.float64)
    rois = (1 + int(np.sqrt(1 + 8 * z.shape[-1]))) // 2
    rows, columns = np.tril_indices(rois, -1)
    full = np.full((*z.shape[:-1], rois, rois), np.nan)
    full[..., rows, columns] = full[..., columns, rows] = np.tanh(z)
    known = np.isfinite(full).any(-1)
    index = np.arange(rois)
    full[..., index, index] = np.where(known, 1.0, np.nan)
    return full


def mean_connectivity(pairs: Sequence[ArrayLike] | NDArray[np.floating]) -> Float64:
    """Consensus [R, R] of people's Fisher z [n, E]: that of `ConnectivitySum.mean_fc`.

    A pair that nobody shows counts as uncorrelated.
    """
    z = np.asarray(pairs, np.float64)
    known = np.isfinite(z)
    mean = np.where(known, z, 0).sum(0) / np.maximum(known.sum(0), 1)
    full = matrix_of(mean)
    np.fill_diagonal(full, 1.0)
    return full
