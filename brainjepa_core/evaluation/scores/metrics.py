"""How well predictions fit, for many weightings of the tested people at once.

A bootstrap resample is a row of weights (how often each person was drawn), so thousands of
resamples cost a few matrix products and one sort, and equal the same metric of repeated rows.

Shapes: b weightings, t tested people, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64

STANDARDISED = "standardised mse"  # as published
LOWER_IS_BETTER = frozenset({"mse", "mae", STANDARDISED})
HEADLINE = {"regression": "r", "classification": "auc"}
WITHIN_SITE = " within site"
CENTRED = " centred by site"


def plain_metric(metric: str) -> str:
    """A metric without what is said of sites."""
    return metric.removesuffix(WITHIN_SITE).removesuffix(CENTRED)


def lower_is_better(metric: str) -> bool:
    """Whether a small number is a good one, within sites or not."""
    return plain_metric(metric) in LOWER_IS_BETTER


def metric_unit(metric: str, unit: str) -> str:
    """Unit of a metric of a target in some unit; empty for metrics without one."""
    plain = plain_metric(metric)
    return {"mae": unit, "mse": f"{unit}²", STANDARDISED: "SD²"}.get(plain, "")


def headline(kind: str, within_site: bool) -> str:
    """The metric a task is judged by: where sites differ in the target, within sites."""
    return HEADLINE[kind] + (WITHIN_SITE if within_site else "")


def regression_scores(
    target: Float64,
    prediction: Float64,
    unit: Float64,
    weights: Float64,
    sites: NDArray[np.int64] | None = None,
) -> dict[str, Float64]:
    """Errors and agreement of predicted values.

    Parameters
    ----------
    target, prediction : ndarray [t]
    unit : ndarray [t]
        Standard deviation of the target in the training part that each prediction comes from,
        for the error of the standardised target (the mean cancels out).
    weights : ndarray [b, t]
    sites : ndarray [t], optional
        Numbers of sites: target and prediction are taken less the mean of their site's tested
        people. It is not taken anew for each weighting: draws repeat people, so residuals around
        a draw's own mean are too small where a site has few.

    Returns
    -------
    dict of ndarray [b]
        ``mae`` in units of the target, and ``mse`` in their square; ``standardised mse`` in squared
        standard deviations; ``r``, Pearson's; ``r2``. NaN where undefined: ``r`` of a constant,
        ``r2`` of a constant target.
    """
    parts = [target, prediction, (target - prediction) / unit]
    if sites is not None:
        parts = [less_site_mean(part, sites) for part in parts]
    target_part, predicted_part, standard_error = parts
    total = weights.sum(1)
    error = target_part - predicted_part
    y, p = _less_mean(weights, target_part), _less_mean(weights, predicted_part)
    yy, pp = _sum(weights, y * y), _sum(weights, p * p)
    yy[yy <= total * (1e-12 * np.abs(target).max(initial=0)) ** 2] = np.nan
    pp[pp <= total * (1e-12 * np.abs(prediction).max(initial=0)) ** 2] = np.nan
    around_site = np.where(np.isnan(yy), np.nan, _sum(weights, target_part**2))
    return {
        "mse": _ratio(_sum(weights, error**2), total),
        "mae": _ratio(_sum(weights, np.abs(error)), total),
        STANDARDISED: _ratio(_sum(weights, standard_error**2), total),
        "r": _sum(weights, y * p) / np.sqrt(yy * pp),
        "r2": 1 - _sum(weights, error**2) / (yy if sites is None else around_site),
    }


def classification_scores(
    truth: NDArray[np.int64], scores: Float64, weights: Float64
) -> dict[str, Float64]:
    """Agreement of classes, and how well scores order people.

    Parameters
    ----------
    truth : ndarray of int64 [t]
        0 .. K - 1.
    scores : ndarray [t, K]
        Higher for a likelier class; the highest is the predicted one.
    weights : ndarray [b, t]

    Returns
    -------
    dict of ndarray [b]
        ``accuracy``; ``balanced accuracy``, the mean recall of the classes that are tested; ``f1``
        of the last of two classes, else the mean over classes; ``auc``, see `auc`.
    """
    classes = scores.shape[1]
    cell = truth * classes + scores.argmax(1)
    table = weights @ np.eye(classes**2)[cell]
    table = table.reshape(len(weights), classes, classes)  # [b, truth, predicted]
    hits = np.einsum("bkk->bk", table)
    tested, predicted = table.sum(2), table.sum(1)
    f1 = _ratio(2 * hits, tested + predicted)
    return {
        "accuracy": _ratio(hits.sum(1), weights.sum(1)),
        "balanced accuracy": _mean_of_known(_ratio(hits, tested)),
        "f1": f1[:, 1] if classes == 2 else _mean_of_known(f1),
        "auc": auc(truth, scores, weights),
    }


def auc(
    truth: NDArray[np.int64],
    scores: Float64,
    weights: Float64,
    sites: NDArray[np.int64] | None = None,
) -> Float64:
    """Area under the ROC curve: the share of pairs of people that scores put in the right order.

    Parameters
    ----------
    truth, scores, weights
        As for `classification_scores`.
    sites : ndarray [t], optional
        Only pairs within a site count, so knowing the site helps nobody.

    Returns
    -------
    ndarray [b]
        Two classes: by the difference of their scores. More: the mean of each class against the
        rest. NaN where a class, or everybody else, is not tested.
    """
    if scores.shape[1] == 2:
        return _ordered_share(truth == 1, scores[:, 1] - scores[:, 0], weights, sites)
    columns = enumerate(scores.T)
    areas = [_ordered_share(truth == k, column, weights, sites) for k, column in columns]
    found: Float64 = np.mean(areas, axis=0)
    return found


def _ordered_share(
    positive: NDArray[np.bool_], score: Float64, weights: Float64, sites: NDArray[np.int64] | None
) -> Float64:
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    groups = np.zeros(len(score), np.int64) if sites is None else sites
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        members = members[np.argsort(score[members], kind="stable")]
        weight, ordered = weights[:, members], score[members]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of equal scores
        above = np.add.reduceat(weight * positive[members], starts, axis=1)
        below = np.add.reduceat(weight * ~positive[members], starts, axis=1)
        right += ((np.cumsum(below, axis=1) - below / 2) * above).sum(1)
        pairs += above.sum(1) * below.sum(1)
    return _ratio(right, pairs)


def less_site_mean(values: Float64, sites: NDArray[np.int64]) -> Float64:
    """Values [t] or scores [t, K] less the mean over the people of their site."""
    found: Float64 = np.array(values, np.float64)
    for site in np.unique(sites):
        found[sites == site] -= found[sites == site].mean(0)
    return found


def _less_mean(weights: Float64, values: Float64) -> Float64:
    return values - _ratio(_sum(weights, values), weights.sum(1))[:, None]


def _sum(weights: Float64, values: Float64) -> Float64:
    return weights @ values if values.ndim == 1 else np.einsum("bt,bt->b", weights, values)


def _ratio(above: Float64, below: Float64) -> Float64:
    """NaN, without a warning, where nothing is divided by."""
    found: Float64 = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def _mean_of_known(values: Float64) -> Float64:
    """Mean [b] over classes, of those that are not NaN."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(1), known.sum(1).astype(np.float64))
