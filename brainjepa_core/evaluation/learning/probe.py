"""The linear probe as published: BatchNorm without affine, then one linear layer, on embeddings.

Shapes: n people, P features, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import Adjustment
from brainjepa_core.evaluation.features.connectivity import Features
from brainjepa_core.evaluation.learning.inputs import ArrayInputs
from brainjepa_core.evaluation.learning.supervised import (
    Progress,
    TrainingSettings,
    fit_and_predict,
    seeded,
)
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData

# AdamW on few hundred people; the published LARS needs batches of thousands.
ADAMW = TrainingSettings(lr=1e-2, batch_size=256, weight_decay=0.1, evaluate_every=10, patience=10)


class LinearProbe(nn.Module):
    """Standardise features over the batch, then weigh them (MAE, He et al. 2022, appendix A.1).

    Parameters
    ----------
    features, outputs : int
        P and O.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, affine=False, eps=1e-6)
        self.head = nn.Linear(features, outputs)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, P] to [B, O]."""
        out: Tensor = self.head(self.norm(x))
        return out


def adjusted_features(
    data: TaskData, training: Index, features: NDArray[np.floating] | Features
) -> Float64:
    """Features [n, P] of the task's people, completed and freed of what covariates explain.

    Parameters
    ----------
    data : TaskData
    training : ndarray of int64
        Rows whose means stand for missing values, and that the regression is fitted on.
    features : ndarray [people of the windows, P] or callable
        As of `feature_methods.FeatureMethod`.

    Raises
    ------
    ValueError
        If there is not one row a person.
    """
    x = features(data, training) if callable(features) else features[data.people]
    if x.ndim != 2 or len(x) != len(data):
        raise ValueError(
            f"task '{data.task.name}': expected features of {len(data)} people, found shape "
            f"{list(x.shape)}; give one row a person"
        )
    carried = np.hstack([data.covariates, x])
    covariates = data.covariates.shape[1]
    steps: list[TransformerMixin] = [SimpleImputer(keep_empty_features=True)]
    if covariates:
        steps.append(Adjustment(covariates))
    pipeline = make_pipeline(*steps).fit(carried[training])
    adjusted: Float64 = pipeline.transform(carried)
    return adjusted


@dataclass(frozen=True, eq=False)
class ProbeMethod:
    """The linear probe on frozen embeddings.

    Attributes
    ----------
    name : str
    features : ndarray [people of the windows, P] or callable
        Embeddings of everybody, or a function of the task and the training rows. Missing values
        are NaN.
    settings : TrainingSettings
        `ADAMW` or others.
    device : str
    progress : callable, optional
    """

    name: str
    features: NDArray[np.floating] | Features
    settings: TrainingSettings = ADAMW
    device: str = "cpu"
    progress: Progress | None = None

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t] or probabilities [t, K], as `Method.predict` says.

        Raises
        ------
        ValueError
            If training has one class or value only, or features do not fit the people.
        """
        x = adjusted_features(data, split.train, self.features)
        with seeded(self.settings.seed, split.repetition):
            probe = LinearProbe(x.shape[1], len(data.classes) or 1).to(self.device)
        inputs = ArrayInputs(x)
        return fit_and_predict(probe, inputs, data, split, self.settings, progress=self.progress)
