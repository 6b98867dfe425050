"""The ROI basis of a run: consensus gradients of the people at hand."""

from __future__ import annotations

import numpy as np

from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.signals.windows import Windows


def connectivity_sum(windows: Windows) -> ConnectivitySum:
    """Summed Fisher z of everybody's aligned scans; missing ROIs count in no pair."""
    total = ConnectivitySum(windows.atlas.rois)
    for subject in range(windows.subjects):
        scans = [np.where(valid[:, None], x, np.nan) for x, valid in windows.aligned(subject)]
        total.add_subject(scans)
    return total


def consensus_basis(
    windows: Windows, components: int = 30, sparsity: float = 0.9
) -> ConsensusBasis:
    """Gradients of the mean connectivity, as published: diffusion map at 90 % sparsity."""
    return ConsensusBasis.from_sum(
        connectivity_sum(windows), n_components=components, sparsity=sparsity
    )
