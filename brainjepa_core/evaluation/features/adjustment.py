"""Taking out of features and targets what covariates explain, learned from training rows.

Covariates travel in the leading columns of the features, so that scikit-learn's pipelines
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
