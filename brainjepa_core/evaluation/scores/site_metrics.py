"""Metrics of a site's people that may leave it: few, defined, and of three digits.

Shapes: n people, Q outcomes (1, or the number of classes).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import classification_scores, regression_scores

Kind = Literal["classification", "regression"]

METRICS: dict[Kind, tuple[str, ...]] = {
    "classification": ("auc", "accuracy", "balanced accuracy"),
    "regression": ("r", "r2", "mae"),
}
DIGITS = 3  # significant ones of a metric that leaves a site


def metrics_of(kind: Kind, target: ArrayLike, predicted: Float64) -> dict[str, float]:
    """Metrics of people's predictions; those that are undefined are left out.

    Parameters
    ----------
    kind : {"classification", "regression"}
    target : array [n]
        Values, or numbers of classes.
    predicted : ndarray [n, Q]
        One value, or a score a class.

    Returns
    -------
    dict
        As `METRICS` names them, from `brainjepa_core.evaluation.scores.metrics`.
    """
    y, ones = np.asarray(target), np.ones((1, len(predicted)))
    if kind == "classification":
        found = classification_scores(y.astype(np.int64), predicted, ones)
    else:
        found = regression_scores(y.astype(np.float64), predicted[:, 0], ones[0], ones)
    known = {name: float(found[name][0]) for name in METRICS[kind]}
    return {name: value for name, value in known.items() if np.isfinite(value)}


def rounded(value: float) -> float:
    """A metric with as many digits as may leave a site."""
    return float(f"{value:.{DIGITS}g}")
