"""What a network's output stands for: classes with weights, or a value in training units.

Shapes: n people, B batch, K classes, O outputs (K, or 1 for a value).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.tasks.protocols import Index, require_classes
from brainjepa_core.evaluation.tasks.settings import TaskData

RESOLVED = 1e-9  # spread over size of a value, below which it is rounding


def what_is_left(data: TaskData, train: Index) -> Float64:
    """The target of all rows, for regression less what covariates tell of it (`adjustment`)."""
    return data.target if data.classes else data.target - target_of_covariates(data, train)


@dataclass(frozen=True)
class LearnedTarget:
    """How outputs are scored and read.

    Attributes
    ----------
    classes : tuple of str
        K names; empty for regression.
    weights : tuple of float
        Of each class in the loss.
    mean, sd : float
        Of what covariates leave of a value, in the training part; it is learned standardised.
    """

    classes: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    mean: float = 0.0
    sd: float = 1.0

    @classmethod
    def of(cls, data: TaskData, train: Index, balance: bool = True) -> LearnedTarget:
        """Learn weights, or mean and spread, from the training rows.

        Parameters
        ----------
        data : TaskData
        train : ndarray of int64
        balance : bool
            Classes weigh the same whatever their number of people; else people do.

        Raises
        ------
        ValueError
            If the training part has one class only, or nothing of the value is left to learn.
        """
        if data.classes:
            require_classes(data, train)
            counts = np.bincount(data.target[train].astype(np.int64), minlength=len(data.classes))
            weights = (counts > 0).astype(np.float64)
            if balance:
                weights *= len(train) / (weights.sum() * np.maximum(counts, 1))
            return cls(data.classes, tuple(weights.tolist()))
        values = what_is_left(data, train)[train]
        sd = float(values.std()) if len(values) else 0.0
        if not sd > RESOLVED * float(np.abs(data.target[train]).max(initial=0.0)):
            raise ValueError(
                f"task '{data.task.name}': expected a target that varies in training, found "
                f"{len(np.unique(data.target[train]))} value(s) of {len(values)} people, or "
                "nothing that covariates leave; choose another column or larger training parts"
            )
        return cls(mean=float(values.mean()), sd=sd)

    @property
    def outputs(self) -> int:
        """O."""
        return len(self.classes) or 1

    def encode(self, values: Float64) -> Tensor:
        """Targets [n] as the loss wants them: class numbers, or standardised values."""
        if self.classes:
            return torch.from_numpy(values.astype(np.int64))
        return torch.from_numpy((values - self.mean) / self.sd).float()

    def loss(self, output: Tensor, encoded: Tensor) -> Tensor:
        """Mean of `losses`, a scalar."""
        return self.losses(output, encoded).mean()

    def losses(self, output: Tensor, encoded: Tensor) -> Tensor:
        """Weighted cross-entropy, or squared error, of each of the outputs [B, O]."""
        if not self.classes:
            return F.mse_loss(output.float()[:, 0], encoded, reduction="none")
        weights = torch.tensor(self.weights, device=output.device)[encoded]
        return F.cross_entropy(output.float(), encoded, reduction="none") * weights

    def decode(self, output: Tensor) -> Float64:
        """Probabilities [n, K], or values [n] in the target's unit, of outputs [n, O]."""
        if self.classes:
            return output.double().softmax(1).numpy()
        return output.double()[:, 0].numpy() * self.sd + self.mean
