"""Fine-tuning: a model's encoder learns a task, or its architecture does from scratch.

Shapes: n people, t tested people, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_network import (
    FinetunedNetwork,
    layer_groups,
    prepare,
)
from brainjepa_core.evaluation.learning.inputs import WindowInputs
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget
from brainjepa_core.evaluation.learning.supervised import (
    Progress,
    device_of,
    fit,
    outputs_of,
    seeded,
)
from brainjepa_core.evaluation.measure import networks_of
from brainjepa_core.evaluation.tasks.protocols import Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.lora import merge_lora
from brainjepa_core.models.registry import family_of
from brainjepa_core.signals.windows import Windows

DEFAULT = FinetuneSettings()
EMBEDDED_AT_ONCE = 32


@dataclass(frozen=True)
class Finetuned:
    """A network that has learned a task, and how its outputs are read.

    Attributes
    ----------
    network : FinetunedNetwork
    target : LearnedTarget
    task : str
        Its name.
    """

    network: FinetunedNetwork
    target: LearnedTarget
    task: str

    def predict(self, windows: Windows, people: NDArray[np.int64]) -> Float64:
        """Probabilities [n, K], or values [n] less what covariates tell, of people.

        Each is read from the mean output over all windows of the person's scans.
        """
        inputs = WindowInputs(windows, people, self.network.settings.patch)
        return self.target.decode(outputs_of(self.network, inputs, range(len(people))))


def from_scratch(model: BrainModel, seed: int = 0) -> BrainModel:
    """A model of the same settings and basis with random weights, on the same device."""
    with seeded(seed):
        return family_of(model).new(model.settings, model.basis.cpu()).to(device_of(model))


@dataclass(frozen=True, eq=False)
class FinetuneMethod:
    """A copy of the network that a model embeds by, with a head, trained on each split anew.

    A site's own model is the same thing: on a split of one site's people, from the model that all
    sites share. From scratch is the same with `from_scratch`'s weights and equal settings.
    Covariates are taken out of a value to predict; signals are read as they are.

    Attributes
    ----------
    name : str
    model : BrainModel
        Never changed.
    windows : Windows
    settings : FinetuneSettings
    device : str
    progress : callable, optional
    """

    name: str
    model: BrainModel
    windows: Windows
    settings: FinetuneSettings = DEFAULT
    device: str = "cpu"
    progress: Progress | None = None

    def fit(self, data: TaskData, split: Split) -> Finetuned:
        """Learn the training part; the validation part says when to stop.

        Raises
        ------
        ValueError
            If windows do not fit the model, or `supervised.fit` refuses the task.
        """
        require_windows(self.model, self.windows)
        s = self.settings
        windows = self.windows.scaled_on(data.people[split.train].tolist())
        inputs = WindowInputs(windows, data.people, self.model.settings.patch)
        networks = networks_of(windows, self.model.basis.cpu().numpy())
        with seeded(s.seed, split.repetition):
            network = FinetunedNetwork(self.model, len(data.classes) or 1, s.pool, networks)
            prepare(network, s)
        network.to(self.device)
        _standardise(network, inputs, split.train.tolist(), s.seed)
        groups = layer_groups(network, s.layer_decay, s.head_factor)
        target = fit(network, inputs, data, split, s, groups=groups, progress=self.progress)
        merge_lora(network)
        return Finetuned(network, target, data.task.name)

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t] or probabilities [t, K], as `Method.predict` says."""
        fitted = self.fit(data, split)
        windows = self.windows.scaled_on(data.people[split.train].tolist())
        found = fitted.predict(windows, data.people[split.test])
        if data.classes:
            return found
        return found + target_of_covariates(data, split.train)[split.test]


def require_windows(model: BrainModel, windows: Windows) -> None:
    """Refuse windows of other sizes than a model's.

    Raises
    ------
    ValueError
        Naming both sizes.
    """
    s = model.settings
    if (len(windows.atlas), windows.settings.frames) != (s.rois, s.frames):
        raise ValueError(
            f"expected windows of {s.rois} ROIs and {s.frames} frames, found "
            f"{len(windows.atlas)} ROIs and {windows.settings.frames} frames; bring the data to "
            "the model's atlas and window"
        )


@torch.no_grad()
def _standardise(
    network: FinetunedNetwork, inputs: WindowInputs, rows: list[int], seed: int
) -> None:
    """The scale of the head's features, from one window of each training person."""
    network.eval()
    device, parts = device_of(network), []
    for first in range(0, len(rows), EMBEDDED_AT_ONCE):
        part = rows[first : first + EMBEDDED_AT_ONCE]
        x, valid = inputs.draw(part, [(seed,)] * len(part))
        assert x is not None
        parts.append(network.pooled(x.to(device), None if valid is None else valid.to(device)))
    network.standardise(parts)
