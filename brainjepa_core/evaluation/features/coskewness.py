"""Connectivity of signals that are projected onto the directions which keep most co-skewness.

Third moments are what pretraining loses (Marraffini et al. 2026, arXiv 2606.04010). The directions
follow from a sum over people (`brainjepa_core.sums.coskewness`): the training part's, or that of
the sites of a study. Decided where the abstract is silent: one subspace for all people, of as many
directions as log-connectivity reads, and connectivity of the projected signals between ROIs.

With Q the projection and S a person's z-scored signals, covariances of projected signals are
``Q (S S') Q``: what is of a person alone (``S S'``, and what they add to the sum) is computed once,
and a split costs a sum and products of matrices.

Shapes: n people, R ROIs, F frames of all scans, E = R (R - 1) / 2 pairs of ROIs, P = E + R pairs
with themselves, in the order of ``numpy.triu_indices(R)``, m directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Arrays, Float32, Float64, save_arrays
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.features.embeddings import kept_arrays, person_key
from brainjepa_core.evaluation.features.readouts import AT_ONCE, KeptFeatures
from brainjepa_core.evaluation.readout.log_connectivity import components_of
from brainjepa_core.gradients import fisher_z
from brainjepa_core.origin import digest
from brainjepa_core.pretraining.site_sums.by_blocks import Scan, scans_of
from brainjepa_core.pretraining.site_sums.coskewness import shared_rois
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.coskewness import CoskewnessSum, mean_products

CACHE = "coskewness"  # in the folder that a cache is kept in
FORMAT = 1  # raised when the same scans give other numbers
AT_HAND = 1 << 30  # bytes of people in memory
PRODUCTS, COVARIANCE = "products", "covariance"
DEAD = 1e-4  # share of its standard deviation below which a projection has left nothing of an ROI


class CoskewnessFeatures:
    """Connectivity in the subspace that keeps most co-skewness, of the people of some windows.

    What is of one person alone is kept, 16 bytes a pair of ROIs: of as many people in memory as
    there is room for (to compute one again takes no longer than to read a file), of the others in
    the folder of a cache. Without one they are read anew.

    Parameters
    ----------
    windows : Windows
    cache : path, optional
        Folder in which people beyond `at_hand` are kept, by content of their scans.
    directions : ndarray of float64 [R, m], optional
        Orthonormal, of people who are never tested: those of a study's sites. By default the
        training part's of each split.
    at_hand : int
        Bytes of people in memory at most.
    """

    def __init__(
        self,
        windows: Windows,
        cache: Path | None = None,
        directions: Float64 | None = None,
        at_hand: int = AT_HAND,
    ) -> None:
        self._windows = windows
        self._folder = None if cache is None else cache / CACHE
        self._given = directions
        self._room = at_hand
        self._kept: dict[int, Arrays] = {}
        self._latest: tuple[bytes, Float64] | None = None

    def features(self) -> Features:
        """Fisher z [n, E] of pairs of ROIs, NaN where one is missing."""
        return KeptFeatures(self._directions, self._make)

    def total(self, people: Sequence[int] | NDArray[np.int64]) -> CoskewnessSum:
        """The sum over these people."""
        rois = len(self._windows.atlas)
        total, own = CoskewnessSum(self._windows.atlas.rois), _own(rois)
        for person in people:
            of = self._person(int(person))
            known = of[COVARIANCE][own] > 0
            if known.any():
                total.add_products(of[PRODUCTS], known)
        return total

    def _directions(self, trained: NDArray[np.int64]) -> Float64:
        """Those [R, m] of the people who train, the same object where they are the same."""
        if self._given is not None:
            return self._given
        trained = np.sort(trained)
        if self._latest is None or self._latest[0] != trained.tobytes():
            found = self.total(trained).directions(components_of(len(self._windows.atlas)))
            self._latest = trained.tobytes(), found
        return self._latest[1]

    def _make(self, directions: Float64, people: NDArray[np.int64]) -> Float32:
        rois = len(directions)
        found = np.empty((len(people), rois * (rois - 1) // 2), np.float32)
        for first in range(0, len(people), AT_ONCE):
            part = people[first : first + AT_ONCE].tolist()
            covariances = np.stack([self._person(person)[COVARIANCE] for person in part])
            found[first : first + AT_ONCE] = projected_pairs(covariances, directions)
        return found

    def _person(self, person: int) -> Arrays:
        """What is of a person alone: `products` and `covariance`, each float64 [P]."""
        if person in self._kept:
            return self._kept[person]
        rois = len(self._windows.atlas)
        size = 2 * 8 * rois * (rois + 1) // 2
        if size > self._room:
            return self._beside(person)
        self._room -= size  # the first ones stay: all are asked for, split after split
        self._kept[person] = self._computed(person)
        return self._kept[person]

    def _beside(self, person: int) -> Arrays:
        """Of one for whom there is no room in memory."""
        if self._folder is None:
            return self._computed(person)
        file = self._folder / f"{digest([FORMAT, person_key(self._windows, person)])}.npz"
        found = kept_arrays(file)
        if found is None or found.keys() != {PRODUCTS, COVARIANCE}:
            found = self._computed(person)
            with suppress(OSError):  # such as a full disk: it is made anew when needed
                save_arrays(file, found, compress=False)
        return found

    def _computed(self, person: int) -> Arrays:
        return of_person(scans_of(self._windows, person), len(self._windows.atlas))


def of_person(scans: Sequence[Scan], rois: int) -> Arrays:
    """What a person adds to the sum, and the covariance of their signals.

    Parameters
    ----------
    scans : sequence of (array [R, F], ndarray of bool [R])
        With the ROIs that hold a signal.
    rois : int
        R.

    Returns
    -------
    dict
        ``products`` float64 [P], as `mean_products` has them, and ``covariance`` float64 [P] of
        signals that are z-scored in each scan, of all scans together. 0 of ROIs that not all scans
        have, and of everything where they share too few.
    """
    upper, known = np.triu_indices(rois), shared_rois(scans)
    if known is None:
        nothing = np.zeros(len(upper[0]))
        return {PRODUCTS: nothing, COVARIANCE: nothing.copy()}
    series = [x for x, _ in scans]
    signals = np.concatenate(list(_standardised(series, known)), axis=1)
    covariance = signals @ signals.T / signals.shape[1]
    return {PRODUCTS: mean_products(series, known), COVARIANCE: covariance[upper]}


def projected_pairs(covariances: Float64, directions: Float64) -> Float64:
    """Fisher z of pairs of ROIs once signals are projected onto directions.

    Parameters
    ----------
    covariances : ndarray of float64 [n, P]
        As `of_person` has them.
    directions : ndarray of float64 [R, m]
        Orthonormal.

    Returns
    -------
    ndarray of float64 [n, E]
        In the order of ``numpy.tril_indices(R, -1)``; NaN of ROIs that are not there, or of which
        the projection leaves nothing.
    """
    rois = len(directions)
    rows, columns = np.triu_indices(rois)
    full = np.empty((len(covariances), rois, rois))
    full[:, rows, columns] = full[:, columns, rows] = covariances
    known = covariances[:, _own(rois)] > 0
    projected = directions @ (directions.T @ full @ directions) @ directions.T
    index = np.arange(rois)
    spread = np.sqrt(np.maximum(projected[:, index, index], 0))
    scale = np.where(known & (spread > DEAD), spread, np.nan)
    rows, columns = np.tril_indices(rois, -1)
    r = projected[:, rows, columns] / (scale[:, rows] * scale[:, columns])
    return fisher_z(np.clip(r, -1, 1))


def _own(rois: int) -> NDArray[np.intp]:
    """Places [R] of the pairs of each ROI with itself among P."""
    index = np.arange(rois)
    return index * rois - index * (index - 1) // 2


def _standardised(
    scans: Sequence[NDArray[np.floating]], known: NDArray[np.bool_]
) -> Iterator[Float64]:
    """Z-scored signals [R, F] of each scan; 0 where an ROI is missing."""
    for series in scans:
        x = np.where(known[:, None], series, 0).astype(np.float64)
        x = x - x.mean(1, keepdims=True)
        spread = x.std(1, keepdims=True)
        yield np.divide(x, spread, out=np.zeros_like(x), where=spread > 0)
