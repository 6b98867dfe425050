"""The ROI basis of a run: consensus gradients of the people at hand."""

from __future__ import annotations

import numpy as np

from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.signals.windows import Windows
from brainjepa_core.usable import live_rois, why_unusable


def connectivity_sum(windows: Windows) -> ConnectivitySum:
    """Summed Fisher z of everybody's aligned scans; missing ROIs count in no pair.

    A scan without enough live ROIs, once it is aligned and scaled, counts nowhere, nor does a
    person without another one.
    """
    total = ConnectivitySum(windows.atlas.rois)
    for subject in range(windows.subjects):
        scans, missing = [], []
        for x, valid in windows.aligned(subject):
            known = np.where(valid[:, None], x, np.nan)
            live = live_rois(known)  # a scale of its own may leave an ROI next to nothing
            if not why_unusable(x.shape[1], int(live.sum())):
                scans.append(known)
                missing.append(~live)
        if scans:
            total.add_subject(scans, missing)
    return total


def consensus_basis(
    windows: Windows, components: int = 30, sparsity: float = 0.9
) -> ConsensusBasis:
    """Gradients of the mean connectivity, as published: diffusion map at 90 % sparsity."""
    return ConsensusBasis.from_sum(
        connectivity_sum(windows), n_components=components, sparsity=sparsity
    )
