"""How far ROIs' signals lie above their own changes over time, where they still have a mean.

Shapes: R ROIs, F frames as measured.
"""

from __future__ import annotations

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.usable import live_rois

LEAST_MEAN = 3.0  # standard deviations: series that were cleaned before have no mean to speak of


def roi_tsnr(series: Float64) -> Float64 | None:
    """Temporal signal-to-noise ratio of each ROI: mean over standard deviation in time.

    Of ROIs' signals, which are averages: figures are larger than those of voxels.

    Parameters
    ----------
    series : ndarray of float64 [R, F]
        Before cleaning; a row of NaN is a missing ROI.

    Returns
    -------
    ndarray of float64 [R], optional
        NaN without a live signal. None of fewer than two frames, without a live ROI, and of series
        around 0.
    """
    live = live_rois(series)
    if not live.any() or series.shape[1] < 2:
        return None
    found = np.full(len(series), np.nan)
    found[live] = series[live].mean(1) / series[live].std(1)
    return None if np.median(found[live]) < LEAST_MEAN else found
