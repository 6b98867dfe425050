"""Linear models of scikit-learn on features of people, as methods of the comparison.

Of features that outnumber the training people, an L2-penalised linear model sees only the span
of those people. Kernel PCA with a linear kernel and all its components is a rotation into that
span: nothing is lost, and the fit is ten times faster.

Shapes: n people, t tested people, P features, C columns of covariates, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import KernelPCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import (
    Adjustment,
    target_of_covariates,
)
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.splits import cutter
from brainjepa_core.evaluation.tasks.protocols import Index, Split, require_classes
from brainjepa_core.evaluation.tasks.settings import TaskData

Estimator = Literal["linear", "svm"]

PENALTIES = 10.0 ** np.arange(-3, 3)  # times P: what standardised features add up to
INNER_FOLDS = 5


@dataclass(frozen=True, eq=False)
class FeatureMethod:
    """A linear model on features, trained on the training and validation parts together.

    Everything is fitted on those rows: the imputation of missing features (means), the
    regression on covariates, standardisation, rotation, and the model with its penalty.

    Attributes
    ----------
    name : str
    features : ndarray [people of the windows, P] or callable
        Missing values are NaN. A callable gets the task's data and the training rows, and returns
        features [n, P] of the task's people.
    estimator : {"linear", "svm"}
        ``linear`` is ridge for regression and logistic regression (L2, balanced classes) for
        classes, ``svm`` a linear support vector machine; each with its penalty, of one grid,
        chosen by cross-validation inside the training rows.
    """

    name: str
    features: NDArray[np.floating] | Features
    estimator: Estimator = "linear"

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t], or scores [t, K]: probabilities, or decision values of the SVM.

        Raises
        ------
        ValueError
            If the training rows are of one class, or features do not fit the people.
        """
        training = np.union1d(split.train, split.validation)
        x = self._carried(data, training)
        model = self._pipeline(data, x, training)
        if data.task.kind == "regression":
            told = target_of_covariates(data, training)
            model.fit(x[training], (data.target - told)[training])
            values: Float64 = model.predict(x[split.test]) + told[split.test]
            return values
        require_classes(data, training)
        model.fit(x[training], data.target[training].astype(np.int64))
        return class_scores(model, x[split.test], len(data.classes))

    def _carried(self, data: TaskData, training: Index) -> NDArray[np.floating]:
        """Covariates and features, side by side."""
        found = self.features
        x = found(data, training) if callable(found) else found[data.people]
        if x.ndim != 2 or len(x) != len(data):
            raise ValueError(
                f"task '{data.task.name}': expected features of {len(data)} people, found shape "
                f"{list(x.shape)}; give one row a person to '{self.name}'"
            )
        return np.hstack([data.covariates.astype(x.dtype), x])

    def _pipeline(self, data: TaskData, x: NDArray[np.floating], training: Index) -> Pipeline:
        """All steps for `x` as `_carried` gives it; none is fitted yet."""
        covariates = data.covariates.shape[1]
        features = x.shape[1] - covariates
        steps: list[Any] = [SimpleImputer(keep_empty_features=True)]  # 0 where nobody has it
        if covariates:
            steps.append(Adjustment(covariates))
        steps.append(StandardScaler())
        if features > len(training):
            steps.append(KernelPCA(kernel="linear", remove_zero_eig=True))
        if data.task.kind == "regression":
            return make_pipeline(*steps, _regressor(self.estimator, features, len(training)))
        target = data.target[training].astype(np.int64)
        return make_pipeline(*steps, _classifier(self.estimator, features, target))


def _regressor(estimator: Estimator, features: int, people: int) -> BaseEstimator:
    if estimator == "linear":
        return RidgeCV(alphas=features * PENALTIES)
    folds = cutter(max(2, min(INNER_FOLDS, people)), seed=0, balanced=False)
    machine = GridSearchCV(
        SVR(kernel="linear"), _strengths(features), scoring="neg_mean_squared_error", cv=folds
    )
    return TransformedTargetRegressor(machine, transformer=StandardScaler())


def _classifier(estimator: Estimator, features: int, target: NDArray[np.int64]) -> BaseEstimator:
    counts = np.unique(target, return_counts=True)[1]
    folds = cutter(max(2, min(INNER_FOLDS, int(counts.min()))), seed=0)
    if estimator == "svm":
        machine = SVC(kernel="linear", class_weight="balanced")
        # Not by ranks: of these a boundary that is far from everybody has good ones, and people of
        # several splits are ranked together.
        return GridSearchCV(machine, _strengths(features), scoring="balanced_accuracy", cv=folds)
    logistic = LogisticRegression(solver="newton-cholesky", class_weight="balanced")
    return GridSearchCV(logistic, _strengths(features), scoring="neg_log_loss", cv=folds)


def _strengths(features: int) -> dict[str, NDArray[np.float64]]:
    """What C is chosen of, the strongest penalty first: the earliest of equals is taken."""
    return {"C": 1 / (features * PENALTIES[::-1])}


def class_scores(model: Any, x: NDArray[np.floating], classes: int) -> Float64:
    """Scores [t, K] of a fitted classifier; a class that training lacked gets the lowest.

    Parameters
    ----------
    model : scikit-learn classifier
        Of numbers of classes; probabilities are taken where it has them.
    x : ndarray [t, P]
    classes : int
        K.
    """
    known = model.classes_.astype(np.int64)
    if hasattr(model, "predict_proba"):
        found, lowest = model.predict_proba(x), np.zeros(len(x))
    else:
        found = model.decision_function(x)
        if found.ndim == 1:
            found = np.column_stack([-found, found])
        lowest = found.min(1)
    scores = np.repeat(lowest[:, None], classes, axis=1)
    scores[:, known] = found
    return scores
