"""A linear probe of one task, cross-validated from the sums that several sites can tell.

Least squares with a ridge penalty needs people only as moments, for a class as for a number (a
class is a column that is 1 for its people, else 0). What is read from the sums is what one fit on
all people pooled would give. Metrics that no sum holds (accuracy, AUC) are taken at each site
(`scores.site_metrics`), and the AUC over sites from counts of scores in bins (`sums.histogram`).

Shapes: n people, P features, Q outcomes, K classes, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import STANDARDISED
from brainjepa_core.sums.moments import Moments
from brainjepa_core.sums.protocol import total
from brainjepa_core.sums.ridge import ALPHAS, RESOLVED, Ridge, fit_folds, predicted_moments


def outcome_columns(target: ArrayLike, classes: int) -> Float64:
    """Outcomes [n, Q] of a task: its values as one column, or a column of 0 and 1 a class.

    Parameters
    ----------
    target : array [n]
        Values, or numbers of classes.
    classes : int
        K, or 0 for regression.
    """
    values = np.asarray(target, np.float64)
    if not classes:
        return values[:, None]
    found: Float64 = (values[:, None] == np.arange(classes)).astype(np.float64)
    return found


def told_people(
    folds: ArrayLike, target: ArrayLike, classes: int, fewest: int
) -> NDArray[np.bool_]:
    """Who may be in a fold's sums [n]: nobody of a fold, or a class in it, of fewer than `fewest`.

    Sums of products with a class are sums over the people of that class, so a floor on a fold
    alone would let the features of a single person out.
    """
    where, labels = np.asarray(folds), np.asarray(target, np.float64)
    groups = np.stack([where, labels if classes else np.zeros(len(where))], axis=1)
    _, group, sizes = np.unique(groups, axis=0, return_inverse=True, return_counts=True)
    return sizes[group.reshape(-1)] >= fewest


@dataclass(frozen=True)
class CrossFit:
    """A probe for each left-out fold, and what sums tell of how well they do.

    Attributes
    ----------
    probes : tuple of Ridge
        F of them; that of fold k is fitted on the people of all other folds.
    final : Ridge
        Fitted on everybody.
    predicted : Moments
        Of predictions in place of the features, each person's by the probe of their own fold.
    metrics : dict of str to float
        ``r``, ``r2``, ``mse`` and ``standardised mse``
        (`brainjepa_core.evaluation.scores.metrics`) over all people, each by the probe that did not
        see them; for classes ``r2`` only, the mean over their columns. All but ``mse`` are NaN
        where the outcome does not vary.
    """

    probes: tuple[Ridge, ...]
    final: Ridge
    predicted: Moments
    metrics: dict[str, float]

    @property
    def people(self) -> int:
        """How many are behind the sums."""
        return self.predicted.n


def cross_fit(folds: Sequence[Moments], alphas: Sequence[float] = ALPHAS) -> CrossFit:
    """Fit ridge probes by cross-validation from the moments of F folds.

    The penalty of each probe is chosen by leaving out one of its own training folds at a time, so
    that nothing of a fold has a part in what it is tested by.

    Parameters
    ----------
    folds : sequence of Moments
        Summed over sites. Folds of nobody are tested by nobody.
    alphas : sequence of float

    Raises
    ------
    ValueError
        If fewer than three folds have people.
    """
    present = [m for m in folds if m.n]
    if len(present) < 3:
        raise ValueError(
            f"expected people in at least 3 folds, found {len(present)} of {len(folds)}; "
            "ask more sites, or use fewer folds"
        )
    final = fit_folds(present, alphas)
    probes, predicted = [], []
    errors = standard = np.zeros(len(present[0].yy))
    for k, fold in enumerate(folds):
        rest = [m for j, m in enumerate(folds) if j != k and m.n]
        probe = fit_folds(rest, alphas) if fold.n else final
        error = probe.squared_error(fold)
        errors, standard = errors + error, standard + error / _variance(total(rest))
        probes.append(probe)
        predicted.append(predicted_moments(probe, fold))
    together = total(predicted)
    metrics = _metrics_of_sums(errors, standard, together)
    return CrossFit(tuple(probes), final, together, metrics)


def _variance(m: Moments) -> Float64:
    """Of each outcome [Q], NaN where it does not vary."""
    variance = m.yy / m.n - (m.y_sum / m.n) ** 2
    return np.where(variance > RESOLVED**2 * m.yy / m.n, variance, np.nan)


def _metrics_of_sums(errors: Float64, standard: Float64, predicted: Moments) -> dict[str, float]:
    n, y = predicted.n, predicted.y_sum
    spread = n * _variance(predicted)
    r2 = float(np.mean(1 - errors / spread))
    if len(y) > 1:
        return {"r2": r2}
    p, pp = predicted.x_sum[0], predicted.xx[0, 0]
    varies = pp - p * p / n > RESOLVED**2 * pp
    scale = np.sqrt((pp - p * p / n) * spread[0]) if varies else np.nan
    r = float(np.clip((predicted.xy[0, 0] - p * y[0] / n) / scale, -1, 1))
    return {"r": r, "r2": r2, "mse": float(errors[0] / n), STANDARDISED: float(standard[0] / n)}


def held_out_predictions(probes: Sequence[Ridge], features: ArrayLike, folds: ArrayLike) -> Float64:
    """Predictions [n, Q] of people, each by the probe of their own fold, or by the only one."""
    x, where = np.asarray(features, np.float64), np.asarray(folds)
    if len(probes) == 1:
        return probes[0].predict(x)
    predicted = np.zeros((len(x), len(probes[0].intercept)))
    for k, probe in enumerate(probes):
        predicted[where == k] = probe.predict(x[where == k])
    return predicted


def score_range(predicted: Moments) -> Float64:
    """Mean and spread [2] of the difference of two classes' scores, from `predicted_moments`."""
    difference = np.array([-1.0, 1.0])
    mean = difference @ predicted.x_sum / predicted.n
    square = difference @ predicted.xx @ difference / predicted.n
    return np.array([mean, np.sqrt(max(square - mean**2, 0)) or 1.0])
