"""Connectivity gradients: sums, diffusion map, consensus basis, drift and order alarm."""

from brainjepa_core.gradients.consensus import ConsensusBasis
from brainjepa_core.gradients.diffusion import DiffusionMap, affinity, diffusion_map
from brainjepa_core.gradients.drift import (
    canonical_correlations,
    principal_angles,
    procrustes_align,
    relative_error,
)
from brainjepa_core.gradients.neighbour_alarm import OrderAlarm
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_core.sums.correlation import dead_rois, fisher_z, functional_connectivity

__all__ = [
    "ConnectivitySum",
    "ConsensusBasis",
    "DiffusionMap",
    "OrderAlarm",
    "affinity",
    "canonical_correlations",
    "dead_rois",
    "diffusion_map",
    "fisher_z",
    "functional_connectivity",
    "principal_angles",
    "procrustes_align",
    "relative_error",
]
