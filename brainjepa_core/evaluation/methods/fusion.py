"""Late fusion: several methods' scores as one, so that a model can add to connectivity.

Scores of people a method was trained on are far too good to be combined or scaled by. What a score
means is taken from people whom it was not trained on: inner folds of the training part.

Shapes: n people, t tested people, M methods, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.methods.feature_methods import class_scores
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.splits import cutter
from brainjepa_core.evaluation.tasks.protocols import Split, require_classes
from brainjepa_core.evaluation.tasks.settings import TaskData


@dataclass(frozen=True)
class FusionMethod:
    """Several methods as one.

    Attributes
    ----------
    name : str
    methods : sequence of Method
        M of them, such as a probe on embeddings and an SVM on connectivity.
    combine : {"average", "stack"}
        ``average``: the mean of scores that are standardised by those of the inner folds. It learns
        no weights, so a method at chance counts as much as a good one. ``stack``: a logistic or
        ridge regression on the standardised scores, which learns M K weights from the training
        part.
    folds : int
        Inner folds; each method is trained once more for each.
    """

    name: str
    methods: Sequence[Method]
    combine: Literal["average", "stack"] = "average"
    folds: int = 5

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t], or scores [t, K] (probabilities, when stacked)."""
        if data.task.kind == "classification":
            require_classes(data, split.train)
        parts = inner_splits(data, split, self.folds)
        rows = np.concatenate([part.test for part in parts])
        seen, tested = [], []
        for method in self.methods:
            held_out = _columns(np.concatenate([method.predict(data, part) for part in parts]))
            mean, spread = held_out.mean(0), held_out.std(0)
            spread = np.where(spread > 0, spread, 1)
            seen.append((held_out - mean) / spread)
            tested.append((_columns(method.predict(data, split)) - mean) / spread)
        if self.combine == "stack":
            return _stack(data, np.hstack(seen), data.target[rows], np.hstack(tested))
        average: Float64 = np.mean(tested, axis=0)
        if data.task.kind == "classification":
            return average
        # Back into the target's units, by people whom no method was trained on.
        fitted = LinearRegression().fit(np.mean(seen, axis=0), data.target[rows])
        return np.asarray(fitted.predict(average), np.float64)


def inner_splits(data: TaskData, split: Split, folds: int) -> list[Split]:
    """Folds of a split's training part, each tested once; the validation part stays what it is.

    Parameters
    ----------
    data : TaskData
    split : Split
    folds : int
        Stratified by class, and no more than the rarest class has people; shuffled by the
        split's repetition.

    Raises
    ------
    ValueError
        If a class has one person in the training part.
    """
    by_class = data.task.kind == "classification"
    most = _rarest(data, split) if by_class else len(split.train)
    parts = cutter(min(folds, most), split.repetition, balanced=by_class)
    return [
        replace(
            split,
            name=f"{split.name} inner {number}",
            train=split.train[train],
            test=split.train[test],
        )
        for number, (train, test) in enumerate(parts.split(split.train, data.target[split.train]))
    ]


def _rarest(data: TaskData, split: Split) -> int:
    """People of the training part's rarest class."""
    target = data.target[split.train].astype(np.int64)
    counts = np.bincount(target, minlength=len(data.classes))
    if counts.min() < 2:
        told = ", ".join(f"{n} {name}" for n, name in zip(counts, data.classes, strict=True))
        raise ValueError(
            f"task '{data.task.name}': expected two training people or more of each class to join "
            f"methods by, found {told}; choose another protocol, or leave the rare class out"
        )
    return int(counts.min())


def _columns(scores: Float64) -> Float64:
    """Scores as [people, columns]."""
    return scores.reshape(len(scores), -1)


def _stack(data: TaskData, seen: Float64, target: Float64, tested: Float64) -> Float64:
    if data.task.kind == "regression":
        ridge = RidgeCV(alphas=10.0 ** np.arange(-2, 4)).fit(seen, target)
        return np.asarray(ridge.predict(tested), np.float64)
    logistic = LogisticRegression(class_weight="balanced").fit(seen, target.astype(np.int64))
    return class_scores(logistic, tested, len(data.classes))
