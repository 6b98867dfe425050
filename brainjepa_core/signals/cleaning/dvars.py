"""How much all ROIs change from one frame to the next.

Shapes: R ROIs, F frames as measured.
"""

from __future__ import annotations

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.signals.cleaning.roi_tsnr import roi_tsnr


def dvars(series: Float64) -> Float64 | None:
    """Change from the frame before: the root mean square over ROIs, in percent of each one's mean.

    As DVARS of voxels [1]_, of ROIs' signals; those are averages, so that figures are smaller.

    Parameters
    ----------
    series : ndarray of float64 [R, F]
        Before cleaning; a row of NaN is a missing ROI.

    Returns
    -------
    ndarray of float64 [F], optional
        NaN for the first frame, which has none before it. None of fewer than two frames, without a
        live ROI, and of series around 0, which have nothing to be a percentage of.

    References
    ----------
    .. [1] Power et al., Spurious but systematic correlations in functional connectivity MRI
       networks arise from subject motion, NeuroImage 59 (2012).
    """
    ratios = roi_tsnr(series)
    if ratios is None:
        return None
    positive = series[ratios > 0]
    change = 100 * np.diff(positive) / positive.mean(1, keepdims=True)
    return np.concatenate([[np.nan], np.sqrt(np.square(change).mean(0))])
