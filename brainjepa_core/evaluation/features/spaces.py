"""Connectivity in spaces that all sites can share, since they follow from sums over their people.

*Consensus tangent*: the tangent space at the mean connectivity of the training part, in all of its
directions. Where sites have summed their connectivity for the basis, nothing new leaves them; the
geometric mean that the plain tangent space has would ask for sums round after round.

*Consensus basis*: connectivity between the leading components of that mean.

Shapes: n people, R ROIs, m components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.features.readouts import KeptFeatures, SignalReadOuts, in_parts
from brainjepa_core.evaluation.readout.log_connectivity import (
    LogConnectivity,
    components_of,
    log_features,
)


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
