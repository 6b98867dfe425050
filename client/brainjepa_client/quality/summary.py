"""What a site's store tells as a whole: mean connectivity, ROIs that are seen, order of rows.

Shapes: R ROIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.gradients import OrderAlarm
from brainjepa_core.gradients.neighbour_alarm import half_connectivity, neighbour_alarm
from brainjepa_core.signals.storing.store import ScanStore


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
    """

    scans: int
    mean_fc: Float64
    seen: Float64
    order: OrderAlarm | None

    @classmethod
    def of(cls, store: ScanStore) -> Self:
        """Read every scan once."""
        rois = len(store.atlas)
        total, count = np.zeros((2, rois, rois)), np.zeros((rois, rois))
        missing = np.zeros(rois)
        place = {roi: i for i, roi in enumerate(store.atlas.rois)}
        for record in store.records:
            missing[[place[roi] for roi in record.missing]] += 1
            halves = np.stack(half_connectivity(store.series(record)))
            known = np.isfinite(halves).all(0)
            total += np.where(known, halves, 0.0)
            count += known
        with np.errstate(invalid="ignore"):
            first, second = total / count  # NaN where nothing was added
        mean_fc = np.tanh((first + second) / 2)
        np.fill_diagonal(mean_fc, 1.0)
        scans = len(store.records)
        order = neighbour_alarm(first, second, store.atlas.centroids)
        return cls(scans, mean_fc, 1 - missing / max(1, scans), order)
