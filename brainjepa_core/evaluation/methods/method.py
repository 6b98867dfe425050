"""What every way of predicting has in common, so that one table can compare them all.

Shapes: n people, K classes, t tested people.
"""

from __future__ import annotations

from typing import Protocol

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData


class Method(Protocol):
    """A way of predicting: a baseline, a probe, a fine-tuned model.

    A method holds what it needs of the data (features of all people, or windows) and learns
    nothing before `predict`: whatever it fits, scalers included, it fits on the
    rows of the split's training part (and its validation part, where it does not choose by it).
    """

    @property
    def name(self) -> str:
        """What the table calls it, such as ``FC correlation + SVM``."""

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Fit on the split's training part and predict its tested part.

        Parameters
        ----------
        data : TaskData
        split : Split

        Returns
        -------
        ndarray of float64
            [t] values for regression; [t, K] scores for classification, higher for a likelier
            class (probabilities where the method has them), in the order of ``split.test``.
        """
