"""Networks of an atlas that names none: ROIs whose gradients are close."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEADING = 10  # later gradients are mostly noise


def gradient_networks(gradients: ArrayLike, count: int = 10) -> NDArray[np.int64]:
    """Cluster ROIs by their leading gradients (Ward), as networks for an atlas without labels.

    Parameters
    ----------
    gradients : array [R, m]
        A consensus basis, so that all sites get the same networks.
    count : int
        Networks wanted; at most a third of the ROIs.

    Returns
    -------
    ndarray of int64 [R]
        Network of each ROI, numbered in order of first appearance.
    """
    # Only for an atlas without networks, and its import takes a second.
    from sklearn.cluster import AgglomerativeClustering

    leading = np.asarray(gradients, np.float64)[:, :LEADING]
    count = max(2, min(count, len(leading) // 3))
    labels = AgglomerativeClustering(n_clusters=count, linkage="ward").fit_predict(leading)
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place].astype(np.int64)
