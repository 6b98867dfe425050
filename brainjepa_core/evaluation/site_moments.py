"""The yardstick's moments of one site: added up over sites, they tell what all people would.

Shapes: n people, P features, Q outcomes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.measure import outcome_groups, pooled_features
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import Group, Moments, fold_moments


def site_moments(
    model: BrainModel,
    windows: Windows,
    components: Float64,
    folds: ArrayLike,
    count: int,
    fewest: int = 1,
) -> dict[Group, Moments]:
    """Moments of a site's people for each pool, outcome group and fold.

    Parameters
    ----------
    model : BrainModel
        Its target encoder is what embeds.
    windows : Windows
        Of one site, since ages are taken less the site's mean.
    components : ndarray [R, C]
        Eigenvectors of the consensus connectivity.
    folds : array [n]
        Fold of each person.
    count : int
        Number of folds there are; a fold of nobody gets moments of n = 0.
    fewest : int
        Folds of fewer people are told as folds of nobody: sums of one are that one.

    Returns
    -------
    dict
        By `Group`. Outcomes that a person lacks are left out.
    """
    outcomes = outcome_groups(windows, components)
    features = pooled_features(model, windows, range(windows.subjects))
    result = {}
    for pool, x in features.items():
        for outcome, y in outcomes.items():
            if not np.isfinite(y).all():
                continue
            for fold, moments in enumerate(fold_moments(x, y, folds, count)):
                result[Group(pool, outcome, fold)] = moments.told(fewest)
    return result
