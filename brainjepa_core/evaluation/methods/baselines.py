"""What a model has to beat: nothing, the site, motion, what the table of people says, and FC.

Shapes: n people, t tested people, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.feature_extraction import DictVectorizer

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.features.connectivity import (
    KINDS,
    ConnectivityFeatures,
    Features,
    Kind,
)
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.feature_methods import Estimator, FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.readout_methods import signal_methods
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.signals.windows import Windows

MOTION = ("mean_fd", "max_fd", "censored", "dropped")
TABULAR = ("age", "sex", "education", "handedness", "ancestry")


@dataclass(frozen=True)
class Average:
    """The training people's mean, or the shares of their classes: knowing nothing of a person.

    Attributes
    ----------
    kind : {"classification", "regression"}
        Of the task.
    by_site : bool
        Of the training people of a person's own site, where there are any: what site identity
        alone tells. When whole sites are left out, it tells nothing.
    """

    kind: Literal["classification", "regression"]
    by_site: bool = False

    @property
    def name(self) -> str:
        """What it says: ``mean`` or ``majority``, ``site mean`` or ``site majority``."""
        said = "mean" if self.kind == "regression" else "majority"
        return f"site {said}" if self.by_site else said

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t], or shares of classes [t, K]."""
        training = np.union1d(split.train, split.validation)
        told = data.target
        if self.kind == "classification":
            told = np.eye(len(data.classes))[data.target.astype(np.int64)]
        overall = told[training].mean(0)
        rows = []
        for site in data.sites[split.test]:
            mates = training[data.sites[training] == site]
            rows.append(told[mates].mean(0) if self.by_site and len(mates) else overall)
        return np.array(rows, np.float64)


@dataclass(frozen=True)
class CovariatesOnly:
    """What the covariates tell of a value: every other row adds to this one."""

    name: str = "covariates only"

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t] of the training people's regression on covariates."""
        training = np.union1d(split.train, split.validation)
        return target_of_covariates(data, training)[split.test]


def facts_features(data: TaskData, columns: tuple[str, ...]) -> Float64 | None:
    """Numbers as they are and texts as indicators, of the columns that anybody has.

    Parameters
    ----------
    data : TaskData
    columns : tuple of str
        Of ``data.facts``; the task's own column is left out.

    Returns
    -------
    ndarray [n, P] or None
        NaN where a number is missing; None if nothing is known.
    """
    rows: list[dict[str, Any]] = []
    wanted = [c for c in columns if c != data.task.column]
    numbers = {c for c in wanted if any(_is_number(facts.get(c)) for facts in data.facts)}
    for facts in data.facts:
        row: dict[str, Any] = {}
        for column in wanted:
            value = facts.get(column)
            if column in numbers:
                row[column] = value if _is_number(value) else np.nan
            elif isinstance(value, str):
                row[column] = value.casefold()
        rows.append(row)
    vectorizer = DictVectorizer(sparse=False)
    found: Float64 = vectorizer.fit_transform(rows)
    return found if found.shape[1] else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class FactsFeatures:
    """Some columns of the facts as features of a `FeatureMethod`."""

    columns: tuple[str, ...]

    def __call__(self, data: TaskData, training: Index) -> Float64:
        """Features [n, P]; nothing is learned of them."""
        found = facts_features(data, self.columns)
        return np.zeros((len(data), 1)) if found is None else found


def estimator_name(data: TaskData, estimator: Estimator) -> str:
    """What a table calls an estimator: ridge, logistic, SVR or SVM."""
    regression = data.task.kind == "regression"
    if estimator == "svm":
        return "SVR" if regression else "SVM"
    return "ridge" if regression else "logistic"


def connectivity_methods(
    data: TaskData,
    features: ConnectivityFeatures,
    kinds: Sequence[Kind] = KINDS,
) -> list[FeatureMethod]:
    """FC {correlation, partial correlation, tangent} x {ridge or logistic, SVM or SVR}."""
    estimators: tuple[Estimator, ...] = ("linear", "svm")
    return [
        FeatureMethod(
            f"FC {kind} + {estimator_name(data, estimator)}",
            features.of(kind),
            estimator,
        )
        for kind in kinds
        for estimator in estimators
    ]


def baseline_methods(
    windows: Windows,
    data: TaskData,
    signals: SignalReadOuts,
    cache: Path | None = None,
    kinds: Sequence[Kind] = KINDS,
) -> list[Method]:
    """All baselines of classical methods: what a table without a checkpoint consists of.

    Parameters
    ----------
    windows : Windows
    data : TaskData
    signals : SignalReadOuts
        Of the same windows.
    cache : path, optional
        Folder in which tangent features are kept by content.
    kinds : sequence of {"correlation", "partial correlation", "tangent"}
        The last is learned on each split anew: most of a minute at 300 people and ROIs.

    Returns
    -------
    list of Method
        Motion and tabular baselines only where the facts hold their columns.
    """
    kind = data.task.kind
    methods: list[Method] = [Average(kind), Average(kind, by_site=True)]
    if data.task.kind == "regression" and data.task.covariates:
        methods.append(CovariatesOnly())
    for name, columns in (("motion only", MOTION), ("tabular", TABULAR)):
        if facts_features(data, columns) is not None:
            features: Features = FactsFeatures(columns)
            methods.append(FeatureMethod(name, features))
    features_of = ConnectivityFeatures(windows, cache)
    methods += connectivity_methods(data, features_of, kinds=kinds)
    return [*methods, *signal_methods(signals)]
