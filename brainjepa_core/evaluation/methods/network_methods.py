"""BrainNetCNN and the Brain Network Transformer as methods of the comparison.

Shapes: n people, R ROIs, t tested people, K classes, E = R (R - 1) / 2 pairs of ROIs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.learning.connectivity_networks import (
    BrainNetCnn,
    BrainNetworkTransformer,
)
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

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "BrainNetCNN": BrainNetCnn,
    "Brain Network Transformer": BrainNetworkTransformer,
}
SETTINGS = TrainingSettings(
    steps=200, batch_size=16, lr=1e-3, weight_decay=0.01, evaluate_every=10, patience=5
)


@dataclass(frozen=True, eq=False)
class ConnectivityNetworkMethod:
    """A network that learns from connectivity matrices.

    Attributes
    ----------
    name : {"BrainNetCNN", "Brain Network Transformer"}
    matrices : ndarray [people of the windows, R, R]
        Symmetric connectivity of everybody, NaN in rows and columns of missing ROIs.
    settings : TrainingSettings
    device : str
    progress : callable, optional
    """

    name: str
    matrices: NDArray[np.floating]
    settings: TrainingSettings = SETTINGS
    device: str = "cpu"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.name not in NETWORKS:
            raise ValueError(
                f"expected a network among {', '.join(NETWORKS)}, found '{self.name}'; "
                "take one of these"
            )

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t] or probabilities [t, K], as `Method.predict` says."""
        found = self.matrices[data.people]
        valid = valid_rois(found)
        x = adjusted_matrices(data, split.train, found)
        with seeded(self.settings.seed, split.repetition):
            network = NETWORKS[self.name](x.shape[1], len(data.classes) or 1).to(self.device)
        inputs = ArrayInputs(x, valid)
        return fit_and_predict(network, inputs, data, split, self.settings, progress=self.progress)


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
