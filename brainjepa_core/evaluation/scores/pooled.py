"""Predictions that are scored together, under many weightings of the people at once.

Shapes: n people, t tested rows, K classes, b weightings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.scores.metrics import (
    CENTRED,
    WITHIN_SITE,
    auc,
    classification_scores,
    less_site_mean,
    regression_scores,
)

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Pooled:
    """Predictions that are scored together.

    Attributes
    ----------
    rows : ndarray of int64 [t]
        Of the `TaskData`.
    truth : ndarray [t]
    values : ndarray [t] or [t, K]
    unit : ndarray [t]
        Standard deviation of the target in each prediction's training part.
    sites : ndarray of int64 [t], optional
        Where scores are also given within sites.
    """

    rows: Index
    truth: Float64
    values: Float64
    unit: Float64
    sites: Index | None

    def scores(self, weights: Float64, copies: bool = False) -> dict[str, Float64]:
        """Every metric [b] of the task under weights [b, t].

        With `copies` a weight is of a whole site: one that is drawn twice is two sites, between
        which no pair of people is within a site.
        """
        if self.values.ndim == 1:
            arguments = (self.truth, self.values, self.unit, weights)
            found = regression_scores(*arguments)
            within = {} if self.sites is None else regression_scores(*arguments, self.sites)
        else:
            truth = self.truth.astype(np.int64)
            found = classification_scores(truth, self.values, weights)
            within = {}
            if self.sites is not None:
                # Pairs within a site count by the product of both people's weights.
                pairs = np.sqrt(weights) if copies else weights
                within = {"auc": auc(truth, self.values, pairs, self.sites)}
                centred = less_site_mean(self.values, self.sites)
                found |= {f"auc{CENTRED}": auc(truth, centred, weights)}
        return found | {name + WITHIN_SITE: score for name, score in within.items()}

    def once(self) -> dict[str, float]:
        """Every metric of the people as they are."""
        return {name: float(s[0]) for name, s in self.scores(np.ones((1, len(self.rows)))).items()}

    def of(self, chosen: NDArray[np.bool_]) -> Pooled:
        """Only some people, not within sites.

        Parameters
        ----------
        chosen : ndarray of bool [n]
            By row of the `TaskData`.
        """
        keep = chosen[self.rows]
        parts = (self.rows[keep], self.truth[keep], self.values[keep], self.unit[keep])
        return Pooled(*parts, sites=None)
