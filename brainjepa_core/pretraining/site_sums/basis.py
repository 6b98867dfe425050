"""The ROI basis of a run: consensus gradients of the people at hand, or coordinates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.pretraining.settings import BasisSettings
from brainjepa_core.pretraining.site_sums.by_blocks import scans_of, sum_by_blocks
from brainjepa_core.signals.windows import Windows


def connectivity_sum(
    windows: Windows, processes: int = 1, go_on: Callable[[], None] = lambda: None
) -> ConnectivitySum:
    """Summed Fisher z of everybody's aligned scans; missing ROIs count in no pair.

    A scan without enough live ROIs, once it is aligned and scaled, counts nowhere, nor does a
    person without another one.

    Parameters
    ----------
    windows : Windows
    processes : int
        To work in. With one, this one does; another takes some seconds to start.
    go_on : callable
        Called after each block of people (`sum_by_blocks`); what it raises ends the work.

    Raises
    ------
    ValueError
        If a process was killed.
    """
    return sum_by_blocks(ConnectivitySum, _sum_of_block, windows, processes, go_on)


def _sum_of_block(windows: Windows) -> ConnectivitySum:
    """The sum over a block's people, one after the other."""
    total = ConnectivitySum(windows.atlas.rois)
    for subject in range(windows.subjects):
        scans = scans_of(windows, subject)
        if scans:
            total.add_subject([series for series, _ in scans], [~live for _, live in scans])
    return total


def consensus_basis(
    windows: Windows, components: int = 30, sparsity: float = 0.9
) -> ConsensusBasis:
    """Gradients of the mean connectivity, as published: diffusion map at 90 % sparsity."""
    return ConsensusBasis.from_sum(
        connectivity_sum(windows), n_components=components, sparsity=sparsity
    )


def basis_of_sum(
    total: ConnectivitySum, settings: BasisSettings, atlas: Atlas | None = None
) -> ConsensusBasis:
    """The basis of a study: gradients of the mean connectivity, or coordinates of its ROIs.

    Parameters
    ----------
    total : ConnectivitySum
    settings : BasisSettings
    atlas : Atlas, optional
        Which may know where its ROIs are; otherwise, as where names are all that is known, the
        shipped one tells.

    Raises
    ------
    ValueError
        If these people have no gradients, or nobody knows where an ROI is.
    """
    if settings.kind == "gradients":
        return ConsensusBasis.from_sum(total, settings.components, settings.sparsity)
    rois = tuple(total.rois)
    places = _places(atlas) if atlas is not None and atlas.rois == rois else {}
    places = _places(load_atlas()) | places
    lost = [roi for roi in rois if roi not in places]
    if lost:
        raise ValueError(
            f"expected ROIs whose places an atlas tells (basis.kind: centroids), found "
            f"{len(lost)} of {len(rois)} without, such as '{lost[0][:40]}'; take the shipped "
            "atlas's ROIs, or basis.kind: gradients"
        )
    coordinates = np.array([places[roi] for roi in rois])
    return ConsensusBasis(rois, coordinates, np.full(coordinates.shape[1], np.nan))


def _places(atlas: Atlas) -> dict[str, tuple[float, float, float]]:
    return dict(zip(atlas.rois, atlas.centroids or (), strict=False))
