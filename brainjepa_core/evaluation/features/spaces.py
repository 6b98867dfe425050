"""Connectivity in spaces that all sites can share, since they follow from sums over their people.

*Consensus tangent*: the tangent space at the mean connectivity of the training part, in all of its
directions. Where sites have summed their connectivity for the basis, nothing new leaves them; the
geometric mean that the plain tangent space has would ask for sums round after round.

*Consensus basis*: connectivity between the leading components of that mean.

*Co-skewness*: connectivity of signals that are projected onto the directions which keep most of the
training part's co-skewness (Marraffini et al. 2026, arXiv 2606.04010: what pretraining loses). The
directions follow from a sum over people, `brainjepa_core.sums.coskewness`. Decided where the
abstract is silent: one subspace for all people, of as many directions as log-connectivity reads,
and connectivity of the projected signals between ROIs.

Shapes: n people, R ROIs, E = R (R - 1) / 2 pairs of ROIs, m components or directions, P features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.features.readouts import KeptFeatures, SignalReadOuts, in_parts
from brainjepa_core.evaluation.readout.connectivity import pairs_of
from brainjepa_core.evaluation.readout.log_connectivity import (
    LogConnectivity,
    components_of,
    log_features,
)
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.coskewness import CoskewnessSum, mean_products

DEAD = 1e-6  # share of its standard deviation below which a projection has left nothing of an ROI


def consensus_tangent(signals: SignalReadOuts) -> Features:
    """Features [n, R (R + 1) / 2] of the tangent space at the consensus."""

    def make(seen: LogConnectivity, people: NDArray[np.int64]) -> Float64:
        whole = LogConnectivity.of(seen.consensus, len(seen.consensus))
        return in_parts(signals.pairs, people, lambda fc: log_features(whole.shrunk(fc)))

    return KeptFeatures(signals.seen_from, make)


def consensus_basis(signals: SignalReadOuts) -> Features:
    """Features [n, m (m + 1) / 2]: connectivity between components of the consensus."""

    def make(seen: LogConnectivity, people: NDArray[np.int64]) -> Float64:
        consensus = seen.consensus
        m = components_of(len(consensus))
        leading = np.linalg.eigh(consensus)[1][:, ::-1][:, :m]
        lower = (slice(None), *np.tril_indices(m))

        def between(fc: Float64) -> Float64:
            found: Float64 = (leading.T @ np.where(np.isnan(fc), consensus, fc) @ leading)[lower]
            return found

        return in_parts(signals.pairs, people, between)

    return KeptFeatures(signals.seen_from, make)


class CoskewnessFeatures:
    """Connectivity in the subspace that keeps most of the training part's co-skewness.

    Parameters
    ----------
    windows : Windows
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._kept: dict[int, tuple[Float32, NDArray[np.bool_]]] = {}
        self._latest: tuple[bytes, Float64] | None = None

    def features(self) -> Features:
        """Fisher z [n, E] of pairs of ROIs, NaN where one is missing."""
        return KeptFeatures(self._projection, self._make)

    def total(self, people: NDArray[np.int64]) -> CoskewnessSum:
        """The sum over these people."""
        total = CoskewnessSum(self._windows.atlas.rois)
        for person in people.tolist():
            total.add_products(*self._products(person))
        return total

    def _products(self, person: int) -> tuple[Float32, NDArray[np.bool_]]:
        if person not in self._kept:
            scans, known = self._scans(person)
            self._kept[person] = mean_products(scans, known).astype(np.float32), known
        return self._kept[person]

    def _projection(self, trained: NDArray[np.int64]) -> Float64:
        """Onto the directions [R, R] of those who train."""
        trained = np.sort(trained)
        if self._latest is None or self._latest[0] != trained.tobytes():
            kept = self.total(trained).directions(components_of(len(self._windows.atlas)))
            self._latest = trained.tobytes(), kept @ kept.T
        return self._latest[1]

    def _make(self, projection: Float64, people: NDArray[np.int64]) -> Float64:
        return np.stack([self._person(int(person), projection) for person in people])

    def _person(self, person: int, projection: Float64) -> Float64:
        """Fisher z [E] of the correlation of projected signals, all scans together."""
        scans, known = self._scans(person)
        standard = np.concatenate(list(_standardised(scans, known)), axis=1)
        projected = projection @ standard
        spread = projected.std(1)
        shown = known & (spread > DEAD)
        unit = projected[shown] / (spread[shown][:, None] * np.sqrt(projected.shape[1]))
        found = np.full(projection.shape, np.nan)
        found[np.ix_(shown, shown)] = np.clip(unit @ unit.T, -1, 1)
        return pairs_of(found)

    def _scans(self, person: int) -> tuple[list[NDArray[np.floating]], NDArray[np.bool_]]:
        """Signals of a person's scans, and the ROIs that all of them have."""
        series, known = zip(*self._windows.aligned(person), strict=True)
        return list(series), np.logical_and.reduce(known)


def _standardised(scans: list[NDArray[np.floating]], known: NDArray[np.bool_]) -> Iterator[Float64]:
    """Z-scored signals [R, F] of each scan; 0 where an ROI is missing."""
    for series in scans:
        x = np.where(known[:, None], series, 0).astype(np.float64)
        x = x - x.mean(1, keepdims=True)
        spread = x.std(1, keepdims=True)
        yield np.divide(x, spread, out=np.zeros_like(x), where=spread > 0)
