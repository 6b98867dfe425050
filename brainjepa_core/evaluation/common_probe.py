"""A linear probe of one task from what several sites can tell: sums, counts and metrics.

Least squares with a ridge penalty needs people only as moments, for a class as for a number (a
class is a column that is 1 for its people, else 0). What is read from the sums is what one fit on
all people pooled would give. Metrics that no sum holds (accuracy, AUC) are taken at each site, and
the AUC over sites from counts of scores in bins.

Shapes: n people, P features, Q outcomes, K classes, F folds, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import classification_scores, regression_scores
from brainjepa_core.sums.ridge import (
    ALPHAS,
    RESOLVED,
    Moments,
    Ridge,
    choose_alpha,
    fit_ridge,
    total,
)

Kind = Literal["classification", "regression"]

METRICS: dict[Kind, tuple[str, ...]] = {
    "classification": ("auc", "accuracy", "balanced accuracy"),
    "regression": ("r", "r2", "mae"),
}
BINS = 1000  # of squashed scores; two people who share one count as a tie
DIGITS = 3  # significant ones of a metric that leaves a site


def outcomes_of(target: ArrayLike, classes: int) -> Float64:
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


def fold_moments(
    features: ArrayLike, outcomes: ArrayLike, folds: ArrayLike, count: int
) -> list[Moments]:
    """Moments of people by fold, 0 .. count - 1; a fold of nobody has n = 0."""
    x, y, where = np.asarray(features), np.asarray(outcomes), np.asarray(folds)
    return [Moments.of(x[where == k], y[where == k]) for k in range(count)]


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
        ``r``, ``r2`` and ``mse`` (of the target in units of its spread in training) over all
        people, each by the probe that did not see them; for classes ``r2`` only, the mean over
        their columns. NaN where the outcome does not vary.
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
    final = fit_ridge(total(present), choose_alpha(present, alphas))
    probes, predicted = [], []
    errors = standard = np.zeros(len(present[0].yy))
    for k, fold in enumerate(folds):
        rest = [m for j, m in enumerate(folds) if j != k and m.n]
        probe = fit_ridge(total(rest), choose_alpha(rest, alphas)) if fold.n else final
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


def predicted_moments(probe: Ridge, m: Moments) -> Moments:
    """Moments of predictions [n, Q] in place of the features, without seeing people."""
    w, b = probe.weights, probe.intercept
    linear = w.T @ m.x_sum
    squares = w.T @ m.xx @ w + np.outer(linear, b) + np.outer(b, linear) + m.n * np.outer(b, b)
    return Moments(
        m.n,
        linear + m.n * b,
        m.y_sum,
        squares,
        w.T @ m.xy + np.outer(b, m.y_sum),
        m.yy,
    )


def _metrics_of_sums(errors: Float64, standard: Float64, predicted: Moments) -> dict[str, float]:
    n, y = predicted.n, predicted.y_sum
    spread = n * _variance(predicted)
    r2 = float(np.mean(1 - errors / spread))
    if len(y) > 1:
        return {"r2": r2}
    p, pp = predicted.x_sum[0], predicted.xx[0, 0]
    varies = pp - p * p / n > RESOLVED**2 * pp
    scale = np.sqrt((pp - p * p / n) * spread[0]) if varies else np.nan
    r = float((predicted.xy[0, 0] - p * y[0] / n) / scale)
    return {"r": r, "r2": r2, "mse": float(standard[0] / n)}


def held_out_predictions(probes: Sequence[Ridge], features: ArrayLike, folds: ArrayLike) -> Float64:
    """Predictions [n, Q] of people, each by the probe of their own fold, or by the only one."""
    x, where = np.asarray(features, np.float64), np.asarray(folds)
    if len(probes) == 1:
        return probes[0].predict(x)
    predicted = np.zeros((len(x), len(probes[0].intercept)))
    for k, probe in enumerate(probes):
        predicted[where == k] = probe.predict(x[where == k])
    return predicted


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


def score_range(predicted: Moments) -> Float64:
    """Mean and spread [2] of the difference of two classes' scores, from `predicted_moments`."""
    difference = np.array([-1.0, 1.0])
    mean = difference @ predicted.x_sum / predicted.n
    square = difference @ predicted.xx @ difference / predicted.n
    return np.array([mean, np.sqrt(max(square - mean**2, 0)) or 1.0])


def score_histogram(target: ArrayLike, scores: ArrayLike, fewest: int) -> NDArray[np.int64]:
    """How many people of either class have a score in each of B bins [2, B].

    People of a class go side by side by score in groups of at least `fewest`, and a group counts
    as a whole in the bin of its mean score: no cell but an empty one holds fewer.

    Parameters
    ----------
    target : array [n]
        0 or 1.
    scores : array [n]
        Of about unit spread around 0, larger for class 1; bins are finest there.
    fewest : int
        A class of fewer people is not told.
    """
    values = np.asarray(scores, np.float64)
    squashed = values / (1 + np.abs(values))  # -1 .. 1, in the same order
    counts = np.zeros((2, BINS), np.int64)
    for label in (0, 1):
        ordered = np.sort(squashed[np.asarray(target) == label])
        groups = np.array_split(ordered, len(ordered) // fewest) if len(ordered) >= fewest else []
        for group in groups:
            place = int((group.mean() + 1) / 2 * BINS)
            counts[label, min(place, BINS - 1)] += len(group)
    return counts


def histogram_auc(counts: NDArray[np.int64]) -> float:
    """AUC of people known by their bin [2, B]; NaN where a class has nobody."""
    negative, positive = counts.astype(np.float64)
    below = np.cumsum(negative) - negative
    pairs = negative.sum() * positive.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")
