"""Late fusion: what several methods say of a person, weighed by a linear model.

Shapes: n people, t tested people, K classes, M methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.methods.feature_methods import (
    INNER_FOLDS,
    FeatureMethod,
    class_scores,
)
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.splits import cutter
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.signals.storing.vectors import vectors_of
from brainjepa_core.signals.windows import Windows

NOBODY = np.zeros(0, np.int64)


@dataclass(frozen=True)
class LateFusion:
    """Methods that answer each by itself, and a linear model on their answers (Wolpert 1992).

    Weights are learned of answers to training people that were left out of the answering methods'
    own training, by folds within the training part; so a method that only remembers gets none.

    Attributes
    ----------
    name : str
    parts : sequence of Method
    """

    name: str
    parts: Sequence[Method]

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t], or probabilities [t, K].

        Raises
        ------
        ValueError
            If a part cannot be trained on a fold.
        """
        training = np.union1d(split.train, split.validation)
        told, answers = self._left_out(data, training, split)
        tested = self._answers(
            data, Split(split.name, split.repetition, training, NOBODY, split.test)
        )
        if data.classes:
            weighing = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
            weighing.fit(answers, data.target[told].astype(np.int64))
            return class_scores(weighing, tested, len(data.classes))
        weighing = make_pipeline(StandardScaler(), RidgeCV(alphas=10.0 ** np.arange(-3, 4)))
        values: Float64 = weighing.fit(answers, data.target[told]).predict(tested)
        return values

    def _left_out(self, data: TaskData, training: Index, split: Split) -> tuple[Index, Float64]:
        """Training rows and the parts' answers to each when it was left out."""
        target = data.target[training]
        smallest = min(np.unique(target, return_counts=True)[1]) if data.classes else len(training)
        folds = cutter(max(2, min(INNER_FOLDS, int(smallest))), seed=0)
        groups = target.astype(np.int64) if data.classes else np.zeros(len(training), np.int64)
        rows, answers = [], []
        for number, (learn, test) in enumerate(folds.split(training, groups)):
            name = f"{split.name} inner {number}"
            inner = Split(name, number, training[learn], NOBODY, training[test])
            rows.append(inner.test)
            answers.append(self._answers(data, inner))
        return np.concatenate(rows), np.concatenate(answers)

    def _answers(self, data: TaskData, split: Split) -> Float64:
        """Answers [t, M], or [t, M * K]."""
        found = [part.predict(data, split) for part in self.parts]
        return np.concatenate([f.reshape(len(f), -1) for f in found], axis=1)


def vector_methods(windows: Windows, data: TaskData, beside: Sequence[Method]) -> list[Method]:
    """Rows of the vectors beside the sites' stores: by themselves, and joined with other rows.

    Parameters
    ----------
    windows : Windows
    data : TaskData
    beside : sequence of Method
        Each is joined with the vectors of each name.
    """
    found: list[Method] = []
    for name, values in vectors_of(windows).items():
        own = FeatureMethod(f"{name} vectors", values)
        found.append(own)
        found += [
            LateFusion(f"{method.name} + {name} vectors, late fusion", (method, own))
            for method in beside
        ]
    return found
