"""Fine-tuning: a model learns a task from its probe on, by its head alone or with its encoder.

Shapes: n people, t tested people, P features of all read-outs, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.features.adjustment import target_of_covariates
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.finetuned_network import (
    FinetunedNetwork,
    adapted_for,
    layer_groups,
    release,
)
from brainjepa_core.evaluation.learning.finetuned_people import FinetunedPeople
from brainjepa_core.evaluation.learning.inputs import ArrayInputs, Inputs, ScanInputs
from brainjepa_core.evaluation.learning.learned_target import LearnedTarget
from brainjepa_core.evaluation.learning.optimizer import Group
from brainjepa_core.evaluation.learning.readout_head import recentre
from brainjepa_core.evaluation.learning.supervised import (
    Progress,
    device_of,
    fit,
    outputs_of,
    seeded,
)
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.lora import merge_lora
from brainjepa_core.models.registry import family_of
from brainjepa_core.signals.windows import Windows

DEFAULT = FinetuneSettings()
NOBODY: Index = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Finetuned:
    """A network that has learned a task, and how its outputs are read.

    Attributes
    ----------
    network : FinetunedNetwork
        Its head knows the centre of each hospital that it was trained on.
    target : LearnedTarget
    task : str
        Its name.
    steps : int
        Taken from the probe on; as many as did people good that were not learned from.
    """

    network: FinetunedNetwork
    target: LearnedTarget
    task: str
    steps: int

    def predict(self, windows: Windows, people: NDArray[np.int64], groups: Index) -> Float64:
        """Probabilities [n, K], or values [n] less what covariates tell, of people.

        Parameters
        ----------
        windows : Windows
        people : ndarray of int64 [n]
        groups : ndarray of int64 [n]
            Number of each one's hospital among those of the head's centres.
        """
        inputs = ScanInputs(windows, people, self.network.settings.patch, groups, groups)
        return self.target.decode(outputs_of(self.network, inputs, range(len(people))))


def from_scratch(model: BrainModel, seed: int = 0) -> BrainModel:
    """A model of the same settings and basis with random weights, on the same device."""
    with seeded(seed):
        return family_of(model).new(model.settings, model.basis.cpu()).to(device_of(model))


@dataclass(frozen=True, eq=False)
class FinetuneMethod:
    """A copy of the network that a model embeds by, with a head, trained on each split anew.

    The head reads people's read-outs and begins as the model's probe. A probe tells the people that
    it was fitted on apart whatever the encoder reads of them; so, where the encoder moves, each
    person is judged by a probe that was fitted without their part of the training people, and
    the head is the probe of what the encoder reads by now.

    How many steps do people good who are not learned from is found on the validation part; then all
    is done again with these people, for as many steps. So a network that gains nothing by moving
    predicts as its probe.

    From scratch is the same with `from_scratch`'s weights and equal settings. Covariates are taken
    out of a value to predict; read-outs are taken as they are, centred by hospital.

    Attributes
    ----------
    name : str
    model : BrainModel
        Never changed.
    windows : Windows
    settings : FinetuneSettings
    device : str
    signals : SignalReadOuts, optional
        Of the same windows, where they are at hand.
    cache : Path, optional
        Where embeddings are kept by content.
    progress : callable, optional
        Told of the looks at the validation part.
    """

    name: str
    model: BrainModel
    windows: Windows
    settings: FinetuneSettings = DEFAULT
    device: str = "cpu"
    signals: SignalReadOuts | None = None
    cache: Path | None = None
    progress: Progress | None = None

    def fit(self, data: TaskData, split: Split) -> Finetuned:
        """Learn the training part and, once it has said when to stop, the validation part.

        Raises
        ------
        ValueError
            If windows do not fit the model, or `supervised.fit` refuses the task.
        """
        return self._fit(self._people(data, split), split)

    def predict(self, data: TaskData, split: Split) -> Float64:
        """Values [t] or probabilities [t, K], as `Method.predict` says.

        A hospital without training people is centred on the mean of its own tested people, which
        needs no label.
        """
        people = self._people(data, split)
        fitted = self._fit(people, split)
        head, readouts = fitted.network.head, people.readouts
        if self._moves and fitted.steps:
            readouts = people.read_by(fitted.network, np.union1d(people.learning, split.test))
        features = np.concatenate(readouts, axis=1)
        recentre(head, features, people.groups, people.learning, split.test)
        inputs = _of_features(features, people.groups)
        found = fitted.target.decode(outputs_of(head, inputs, split.test.tolist()))
        if data.classes:
            return found
        return found + target_of_covariates(data, people.learning)[split.test]

    def _people(self, data: TaskData, split: Split) -> FinetunedPeople:
        require_windows(self.model, self.windows)
        learning = np.union1d(split.train, split.validation)
        windows = self.windows.scaled_on(data.people[learning].tolist())
        own = windows is self.windows
        pairs = self._pairs if own else self._read(windows)
        signals = self._signals if own else SignalReadOuts(windows)
        s = self.settings
        return FinetunedPeople.of(
            data, learning, windows, pairs, signals, s.readouts, self.model.settings.patch
        )

    def _fit(self, people: FinetunedPeople, split: Split) -> Finetuned:
        steps, progress = None, self.progress
        if len(split.validation):
            steps, progress = self._learn(people, split, None, progress).steps, None
        everybody = Split(split.name, split.repetition, people.learning, NOBODY, NOBODY)
        return self._learn(people, everybody, steps, progress)

    def _learn(
        self, people: FinetunedPeople, split: Split, until: int | None, progress: Progress | None
    ) -> Finetuned:
        s, data = self.settings, people.data
        target = LearnedTarget.of(data, split.train, s.balance)
        model, head = adapted_for(self.model, s), people.probe(people.readouts, split, target)
        network = FinetunedNetwork(model, head, s.readouts, people.log).to(self.device)
        learn = self._move if self._moves else self._weigh
        steps = learn(network, people, split, target, until, progress)
        merge_lora(network)
        return Finetuned(network.eval(), target, data.task.name, steps)

    def _weigh(
        self,
        network: FinetunedNetwork,
        people: FinetunedPeople,
        split: Split,
        target: LearnedTarget,
        until: int | None,
        progress: Progress | None,
    ) -> int:
        """Steps of the head, whose inputs do not change."""
        head = network.head
        inputs = _of_features(np.concatenate(people.readouts, axis=1), people.groups)
        groups = [Group(list(head.parameters()), self.settings.head_lr / self.settings.lr)]
        return fit(
            head, inputs, people.data, split, self.settings,
            target=target, groups=groups, until=until, sure=True, progress=progress,
        ).steps  # fmt: skip

    def _move(
        self,
        network: FinetunedNetwork,
        people: FinetunedPeople,
        split: Split,
        target: LearnedTarget,
        until: int | None,
        progress: Progress | None,
    ) -> int:
        """Steps of the encoder; the head is at any time the probe of what it reads by now."""
        device, s = device_of(network), self.settings

        def refresh(steps: int) -> None:
            read = people.read_by(network, split.train) if steps else people.readouts
            head = people.probe(read, split, target)
            others = people.probes_without_each_part(read, split, target)
            network.head = head.requires_grad_(False).to(device)
            network.left_out = others.requires_grad_(False).to(device)

        release(network.encoder, s)
        steps = fit(
            network, people.scans, people.data, split, s, target=target,
            groups=layer_groups(network.encoder, s.layer_decay), until=until, progress=progress,
            refresh=refresh, sure=True,
        ).steps  # fmt: skip
        refresh(steps)  # of the best state, not of the last one
        network.left_out = nn.ModuleList()
        return steps

    @property
    def _moves(self) -> bool:
        """Whether the encoder does; else its read-outs are what they were."""
        return self.settings.train != "head"

    @cached_property
    def _signals(self) -> SignalReadOuts:
        return self.signals or SignalReadOuts(self.windows)

    @cached_property
    def _pairs(self) -> Float32:
        """Fisher z of everybody's latent connectivity by the model, before it moves."""
        return self._read(self.windows, self.cache)

    def _read(self, windows: Windows, cache: Path | None = None) -> Float32:
        people, pools = range(windows.subjects), (LATENT_CONNECTIVITY,)
        return cached_embeddings(self.model, windows, people, pools, cache=cache)[pools[0]]


def _of_features(features: NDArray[np.floating], groups: Index) -> Inputs:
    """What a head reads of people."""
    return ArrayInputs(np.nan_to_num(features), np.isfinite(features), groups)


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
