"""What a site's store tells as a whole: mean connectivity, ROIs that are seen, order of rows.

Shapes: R ROIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.gradients import OrderAlarm
from brainjepa_core.gradients.neighbour_alarm import (
    half_connectivity,
    neighbour_alarm,
    why_unjudged,
)
from brainjepa_core.signals.storing.scan_table import Key
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.usable import live_rois


@dataclass(frozen=True)
class SiteSummary:
    """All scans of a store together.

    Attributes
    ----------
    scans : int
    mean_fc : ndarray of float64 [R, R]
        Mean over the halves of all scans, by Fisher's z, with 1 on the diagonal; NaN where no scan
        of 40 frames has both ROIs.
    seen : ndarray of float64 [R]
        Share of the scans that have data of an ROI.
    order : OrderAlarm, optional
        None where the order is not judged.
    unjudged : str
        Why the order is not judged; empty where it is.
    dead : dict
        By the key of a scan that has some: ROIs with data that hardly vary over time.
    """

    scans: int
    mean_fc: Float64
    seen: Float64
    order: OrderAlarm | None
    unjudged: str
    dead: dict[Key, tuple[str, ...]]

    @classmethod
    def of(cls, store: ScanStore) -> Self:
        """Read every scan once."""
        rois = len(store.atlas)
        total, count = np.zeros((2, rois, rois)), np.zeros((rois, rois))
        missing = np.zeros(rois)
        dead: dict[Key, tuple[str, ...]] = {}
        for record in store.records:
            series = store.series(record)
            gone = np.isnan(series[:, 0])
            missing += gone
            still = np.flatnonzero(~live_rois(series) & ~gone)
            if still.size:
                dead[record.key] = tuple(store.atlas.rois[roi] for roi in still)
            halves = np.stack(half_connectivity(series))
            known = np.isfinite(halves).all(0)
            total += np.where(known, halves, 0.0)
            count += known
        with np.errstate(invalid="ignore"):
            first, second = total / count  # NaN where nothing was added
        mean_fc = np.tanh((first + second) / 2)
        np.fill_diagonal(mean_fc, 1.0)
        scans = len(store.records)
        halves_and_places = (first, second, store.atlas.centroids)
        order, unjudged = neighbour_alarm(*halves_and_places), why_unjudged(*halves_and_places)
        return cls(scans, mean_fc, 1 - missing / max(1, scans), order, unjudged, dead)
