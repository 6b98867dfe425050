"""Which ROIs hold a signal, ROI by ROI with Python's own numbers."""

from __future__ import annotations

import numpy as np


def live_by_hand(series: np.ndarray) -> list[bool]:
    """Whether each row varies, by over 5 % of the median of those that do, until none falls out."""
    spreads = {}
    for roi, row in enumerate(series.tolist()):
        if all(np.isfinite(row)):
            mean = sum(row) / len(row)
            spread = (sum((value - mean) ** 2 for value in row) / len(row)) ** 0.5
            if spread > 2.0**-23 * abs(mean):
                spreads[roi] = spread
    while True:
        ordered = sorted(spreads.values())
        n = len(ordered)
        if not n:
            break
        median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
        stronger = {roi: spread for roi, spread in spreads.items() if spread > 0.05 * median}
        if len(stronger) == n:
            break
        spreads = stronger
    return [roi in spreads for roi in range(len(series))]
