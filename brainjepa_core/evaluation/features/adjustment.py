"""Taking out of features and targets what covariates and sites explain, learned from training rows.

Covariates and site travel in the leading columns of the features, so that scikit-learn's pipelines
and inner cross-validation cut them together with the people.

Shapes: n people, C columns of covariates, P features.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.tasks.protocols import Index
from brainjepa_core.evaluation.tasks.settings import TaskData

Array = NDArray[np.floating]

FEWEST = 4  # people of a site whose spread says something


class Adjustment(TransformerMixin, BaseEstimator):
    """Residuals of features after linear regression on the covariates in the leading columns.

    Collinear covariates (all indicators of a set of sites) share what they explain: least squares
    of the smallest norm. A site that training does not know has none of the indicators, and so
    about the mean of the sites' levels.

    Parameters
    ----------
    covariates : int
        C; the columns are gone after `transform`.
    """

    def __init__(self, covariates: int) -> None:
        self.covariates = covariates

    def fit(self, X: Array, y: Array | None = None) -> Self:
        """Regress features [n, P] on covariates [n, C], together [n, C + P]."""
        self.regression_ = _regression(X[:, : self.covariates], X[:, self.covariates :])
        return self

    def transform(self, X: Array) -> Array:
        """Residual features [n, P]."""
        residual: Array = X[:, self.covariates :] - self.regression_.predict(
            X[:, : self.covariates]
        )
        return residual


class SiteHarmonisation(TransformerMixin, BaseEstimator):
    """Each site's features to the location and scale of all training people.

    ComBat (Johnson 2007, Fortin 2018) without its empirical Bayes and covariates: ``(x - mean of
    the site) / spread of the site * spread within sites + mean of all``. A site's own level of what
    is predicted goes with its mean, so that only what holds within sites is learned.

    A site that training does not know, or with fewer than four training people, is left as it
    is: its people would have to be standardised by one another, and a person's score would depend
    on who is tested beside them.

    Parameters
    ----------
    carried : int
        Leading columns that are not features. The first is the site as a number, and is gone
        after `transform`; the others are passed on.
    """

    def __init__(self, carried: int = 1) -> None:
        self.carried = carried

    def fit(self, X: Array, y: Array | None = None) -> Self:
        """Learn sites' means and spreads from [n, carried + P]."""
        sites, features = X[:, 0], X[:, self.carried :]
        names, counts = np.unique(sites, return_counts=True)
        known = names[counts >= FEWEST]
        self.mean_ = features.mean(0)
        self.sites_ = {
            float(site): (features[sites == site].mean(0), features[sites == site].std(0))
            for site in known
        }
        weights = counts[counts >= FEWEST]
        variances = [spread**2 for _, spread in self.sites_.values()]
        self.spread_ = np.sqrt(np.average(variances, axis=0, weights=weights)) if variances else 1.0
        return self

    def transform(self, X: Array) -> Array:
        """Carried columns but the site, and harmonised features [n, carried - 1 + P]."""
        result = X[:, 1:].copy()
        features = result[:, self.carried - 1 :]
        for site in np.unique(X[:, 0]):
            if site in self.sites_:
                mean, spread = self.sites_[site]
                rows = X[:, 0] == site
                scale = np.where(spread > 0, self.spread_ / np.where(spread > 0, spread, 1), 0)
                features[rows] = (features[rows] - mean) * scale + self.mean_
        return result


def target_of_covariates(data: TaskData, training: Index) -> Float64:
    """What covariates alone tell of a regression's target, for all people of the task.

    Methods learn what is left of the target and add this to what they predict, so that predictions
    are in the target's units. Scores are of what is left: take this from both.

    Parameters
    ----------
    data : TaskData
    training : ndarray of int64
        Rows that the regression is fitted on.

    Returns
    -------
    ndarray of float64 [n]
        Zeros where the task has no covariates.
    """
    if not data.covariates.shape[1]:
        return np.zeros(len(data))
    fitted = _regression(data.covariates[training], data.target[training])
    told: Float64 = fitted.predict(data.covariates)
    return told


def _regression(covariates: Array, values: Array) -> LinearRegression:
    return LinearRegression().fit(covariates, values)
