"""Alarm for ROI rows in another order than the centres', from a single scan, without a reference.

ROIs that lie side by side are among those that correlate most: cortex is smooth, and images are.
Where rows are in another order than the centres, neighbours are other ROIs, and no more alike than
any two. A few ROIs exchanged, or hemispheres of alike shape, are beyond it: names are the identity.

Shapes: R ROIs, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.correlation import dead_rois

NEIGHBOURS = 3
R_MAX = 0.999  # ROIs that are copies of one another must not outweigh all others
# Measured on single scans of 55 patients (400 cortical ROIs, 234 frames, band-passed): right order
# at least 0.53 (median 0.64), 7-network order taken for 17-network order at most 0.27, every row
# off by one or one hemisphere scrambled 0.29 to 0.38, random order at most 0.04. Cut to 40 to 150
# frames, with as much white noise again, without the global signal or without a fifth of the ROIs:
# right order at least 0.47, 7-network order at most 0.31. Mean of 5 or 30 of these scans: at least
# 0.71, at most 0.25. 312 subjects of twelve sites, mapped to the 450 ROIs from coarser ones: right
# order at least 0.81; 7-network order at most 0.37, and in means of 5 or 30 at most 0.33.
RIGHT = 0.46
WRONG = 0.35
# Correlation between the connectivity of the two halves under which noise rules. Of the scans above
# all pass; cut to 100, 60 and 40 frames, 98, 51 and 20 % do.
LEAST_RELIABLE = 0.25
LEAST_FRAMES = 40  # with 20, slow drifts make the halves agree on what is not there
# 100 merged parcels give 0.49 and more, but made-up signals without any distance in them, painted
# at made-up places, 0.17 and more (at 200 to 450 ROIs at least 0.36).
FEWEST_ROIS = 150

Verdict = Literal["right order", "suspicious", "wrong order"]


@dataclass(frozen=True)
class OrderAlarm:
    """Whether a scan's ROI rows appear to be in the order of the centres.

    Attributes
    ----------
    score : float
        How much more alike neighbours are than others, up to 1.
    verdict : {"right order", "suspicious", "wrong order"}
        At least 0.46; between; under 0.35.
    message : str
        The score and what to do, for a person.
    """

    score: float
    verdict: Verdict
    message: str


def half_connectivity(series: ArrayLike) -> tuple[Float64, Float64]:
    """Functional connectivity of the first and of the second half of a scan.

    Parameters
    ----------
    series : array_like, shape (R, F)
        A row of NaN is a missing ROI.

    Returns
    -------
    tuple of ndarray of float64, shape (R, R)
        Fisher z, 0 on the diagonal; NaN for ROIs without a signal in one of the halves, and
        everywhere if the scan has fewer than 40 frames or 2 ROIs with a signal.
    """
    x = np.asarray(series, np.float64)
    middle = x.shape[1] // 2
    halves = (x[:, :middle], x[:, middle:])
    result = (np.full((len(x), len(x)), np.nan), np.full((len(x), len(x)), np.nan))
    if x.shape[1] < LEAST_FRAMES or len(x) < 2:
        return result
    alive = np.flatnonzero(~(dead_rois(halves[0]) | dead_rois(halves[1])))
    if alive.size < 2:
        return result
    for half, z in zip(halves, result, strict=True):
        r = np.asarray(np.corrcoef(half[alive]))
        np.fill_diagonal(r, 0.0)
        z[np.ix_(alive, alive)] = np.arctanh(np.clip(r, -R_MAX, R_MAX))
    return result


def neighbour_alarm(
    first: ArrayLike, second: ArrayLike, centroids: ArrayLike | None
) -> OrderAlarm | None:
    """Whether rows appear to be in the order of the centres, from two halves of the data.

    The score tells how close neighbours come to being the most alike: their mean Fisher z above
    all pairs', as a share of what the 3 most alike ROIs of each ROI have. Noise makes those 3 look
    more alike than they are; how well the halves agree tells by how much.

    Parameters
    ----------
    first, second : array_like, shape (R, R)
        Fisher z as `half_connectivity` gives it: of two halves of a scan, or each averaged over
        scans.
    centroids : array_like, shape (R, 3), optional
        Centres of the ROIs in mm.

    Returns
    -------
    OrderAlarm or None
        Score about 0 for a random order and about 0.6 for the right one; at least 0.46 is
        "right order", under 0.35 "wrong order". None where the order is not judged: without
        centroids, with fewer than 150 ROIs that have a signal, or if the halves' connectivity
        correlates less than 0.25; `why_unjudged` says which.
    """
    if why_unjudged(first, second, centroids):
        return None
    known, one, two, pairs = _known(first, second)
    places = np.asarray(centroids, np.float64)[known]
    agreement = _correlation(one[pairs], two[pairs])
    both = 2 * agreement / (1 + agreement)  # Spearman and Brown: of the two halves together
    return _judge(_nearness((one + two) / 2, pairs, places) / np.sqrt(both))


def why_unjudged(first: ArrayLike, second: ArrayLike, centroids: ArrayLike | None) -> str:
    """Why `neighbour_alarm`, of the same arguments, does not judge; empty where it does."""
    if centroids is None:
        return "the atlas has no centres of its ROIs"
    known, one, two, pairs = _known(first, second)
    if known.size < FEWEST_ROIS:
        return (
            f"{known.size} ROIs have a known connectivity in both halves of a scan of at least "
            f"{LEAST_FRAMES} frames, and it takes {FEWEST_ROIS}"
        )
    agreement = _correlation(one[pairs], two[pairs])
    if not agreement >= LEAST_RELIABLE:
        return (
            f"too much noise: the connectivity of the first and of the second halves correlates "
            f"{agreement:.2f}, and it takes {LEAST_RELIABLE:.2f}"
        )
    return ""


def _known(
    first: ArrayLike, second: ArrayLike
) -> tuple[NDArray[np.int64], Float64, Float64, NDArray[np.bool_]]:
    """ROIs with a signal, the two Fisher z among them, and the pairs that both know."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = np.flatnonzero(np.isfinite(one).any(1) & np.isfinite(two).any(1))
    square = np.ix_(known, known)
    one, two = one[square], two[square]
    pairs = ~np.eye(len(one), dtype=bool) & np.isfinite(one) & np.isfinite(two)
    return known, one, two, pairs


def _correlation(one: Float64, two: Float64) -> float:
    """Pearson correlation; 0 without spread."""
    covariance = np.cov(one, two)
    spread = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / spread) if spread > 0 else 0.0


def _nearness(z: Float64, pairs: NDArray[np.bool_], places: Float64) -> float:
    """Mean z of neighbours above all pairs', as a share of what the most alike ROIs have."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    neighbours = np.argsort(np.where(pairs, apart, np.inf), axis=1)[:, :NEIGHBOURS]
    alike = np.sort(np.where(pairs, z, -np.inf), axis=1)[:, -NEIGHBOURS:]
    near = np.take_along_axis(np.where(pairs, z, np.nan), neighbours, axis=1)
    middle = z[pairs].mean()
    return float((np.nanmean(near) - middle) / (alike[np.isfinite(alike)].mean() - middle))


def _judge(score: float) -> OrderAlarm:
    verdict: Verdict
    if score >= RIGHT:
        return OrderAlarm(score, "right order", f"neighbour score {score:.2f}: as expected")
    expected = f"neighbour score {score:.2f}, expected at least {RIGHT:.2f}"
    if score >= WRONG:
        verdict = "suspicious"
        why = "heavy noise or partly wrong ROI rows; compare the ROI names with the atlas's"
    else:
        verdict = "wrong order"
        why = (
            "neighbouring ROIs are hardly more alike than others, so the ROI rows do not follow "
            "the atlas's order; a common cause is Schaefer's 7-network order where 17-network "
            "order is meant; assign the rows by name"
        )
    return OrderAlarm(score, verdict, f"{expected}: {why}")
