"""Networks that learn a task from connectivity alone, as methods of the comparison.

Shapes: n people, R ROIs, t tested people, K classes, E = R (R - 1) / 2 pairs of ROIs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.learning.inputs import ArrayInputs
from brainjepa_core.evaluation.learning.probe import adjusted_features
from brainjepa_core.evaluation.learning.supervised import (
    Progress,
    TrainingSettings,
    fit_and_predict,
    seeded,
)
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.models.registry import Learner

SETTINGS = TrainingSettings(
    steps=200, batch_size=16, lr=1e-3, weight_decay=0.01, evaluate_every=10, patience=5
)


@dataclass(frozen=True, eq=False)
class ConnectivityNetworkMethod:
    """A network that learns from connectivity matrices.

    Attributes
    ----------
    learner : Learner
    matrices : ndarray [people of the windows, R, R]
        Fisher z of everybody's correlations, NaN in rows and columns of missing ROIs.
    partial : ndarray [people of the windows, R, R], optional
        The same of partial correlations, which are edges of graphs; not every network reads them.
    settings : TrainingSettings, optional
        By default `SETTINGS`, and what the network has of its own.
    device : str
    progress : callable, optional
    """

    learner: Learner
    matrices: NDArray[np.floating]
    partial: NDArray[np.floating] | None = None
    settings: TrainingSettings | None = None
    device: str = "cpu"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.learner.network.reads_edges and self.partial is None:
            raise ValueError(
                f"expected partial correlations for {self.name}, whose edges they are, found none; "
                "give partial"
            )

    @property
    def name(self) -> str:
        """The network's title."""
        return self.learner.title

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t] or probabilities [t, K], as `Method.predict` says."""
        kind = self.learner.network
        settings = self.settings or SETTINGS.model_copy(update=dict(self.learner.training))
        found = self.matrices[data.people]
        arrays = [adjusted_matrices(data, split.train, found), valid_rois(found)]
        if kind.reads_edges:
            assert self.partial is not None
            arrays.append(np.abs(adjusted_matrices(data, split.train, self.partial[data.people])))
        with seeded(settings.seed, split.repetition):
            network = kind(found.shape[1], len(data.classes) or 1).to(self.device)
        inputs = ArrayInputs(*arrays)
        return fit_and_predict(network, inputs, data, split, settings, progress=self.progress)


def valid_rois(matrices: NDArray[np.floating]) -> NDArray[np.bool_]:
    """ROIs [n, R] that have a connection to any other."""
    rois = matrices.shape[1]
    off_diagonal = np.where(np.eye(rois, dtype=bool), np.nan, matrices)
    found: NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(off_diagonal), axis=2)
    return found


def adjusted_matrices(data: TaskData, train: Index, matrices: NDArray[np.floating]) -> Float32:
    """Matrices [n, R, R] less what covariates explain of each pair; diagonals are 0.

    An ROI's correlation with itself is the same for everybody.
    """
    rows, columns = np.tril_indices(matrices.shape[1], -1)
    pairs = matrices[:, rows, columns]
    result = np.zeros(matrices.shape, np.float32)
    result[:, rows, columns] = adjusted_features(data, train, lambda *_: pairs)
    return result + result.transpose(0, 2, 1)
