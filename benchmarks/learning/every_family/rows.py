"""What rows of the tables of `families.py` are, and how they are measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from every_family.people import SPLIT
from every_family.volumes import SWIFT as VOLUMES
from torch import nn

from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import FinetuneMethod
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.probe import ProbeMethod
from brainjepa_core.evaluation.methods.baselines import (
    MOTION,
    TABULAR,
    FactsFeatures,
    connectivity_methods,
)
from brainjepa_core.evaluation.methods.chosen import FEATURES as CHOSEN
from brainjepa_core.evaluation.methods.chosen import chosen_methods
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.model_methods import (
    PUBLISHED,
    network_methods,
    probe_methods,
)
from brainjepa_core.evaluation.methods.network_methods import ConnectivityNetworkMethod
from brainjepa_core.evaluation.methods.readout_methods import (
    PROBES,
    ReadOutMethod,
    signal_methods,
)
from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.resampling import Score, percentile_interval, score_models
from brainjepa_core.evaluation.scores.results import Predictions
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, Split, splits_of
from brainjepa_core.evaluation.tasks.settings import Rule, TaskData, TaskSettings, load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import learners
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import (
    basis_of_sum,
    connectivity_sum,
    consensus_basis,
)
from brainjepa_core.signals.windows import Windows

REFERENCE = "FC correlation + SVM"
STATES = ("untrained", "pretrained")
STEPS, BATCH = 150, 16
SPLITS, DEAR_SPLITS = 100, 10  # random ones, as Brainmarks has them; of what is costly
# Learning rates that a family ships with or its paper has for such widths; none was tried here.
PRETRAINED = {
    "brain_jepa": 1e-3,
    "masked_autoencoder": 1e-3,
    "person_jepa": 1e-2,  # site_configs/study_abide.yaml
    "brainlm": 1e-3,
    "brainmass": 3e-4,
    "csm": 5e-4,
}
SUPERVISED = tuple(learners())
SWIFT = "swift"  # of volumes, as made, its head learned
FEATURES = ("without scans", "FC correlation", "FC partial correlation", "read-outs", *CHOSEN)
COSTLY = ("tangent",)  # features that take long in every split


@dataclass(frozen=True)
class World:
    """People, and what is read of them, which groups of rows share.

    Attributes
    ----------
    windows : Windows
    cache : Path
        Where features and embeddings are kept.
    """

    windows: Windows
    cache: Path

    @cached_property
    def signals(self) -> SignalReadOuts:
        """Read-outs of everybody's signals."""
        return SignalReadOuts(self.windows)

    @cached_property
    def connectivity(self) -> ConnectivityFeatures:
        """Connectivity of everybody."""
        return ConnectivityFeatures(self.windows, self.cache)

    @cached_property
    def basis(self) -> ConsensusBasis:
        """Of everybody's connectivity."""
        return consensus_basis(self.windows)

    @cached_property
    def references(self) -> dict[tuple[str, int], Predictions]:
        """What *FC correlation + SVM* predicts, by table and number of splits."""
        return {}

    @cached_property
    def models(self) -> dict[str, tuple[BrainModel, float]]:
        """Models by family and state as they are asked for, and core seconds of pretraining."""
        return {}

    def model(self, name: str) -> tuple[BrainModel, float]:
        """The model of ``family, state``, and the core seconds that its pretraining took."""
        if name not in self.models:
            self.models[name] = _model(self, *name.split(", "))
        return self.models[name]


def _model(world: World, family: str, state: str) -> tuple[BrainModel, float]:
    study = study_of(family)
    training = study.new_training(world.basis, "cpu")
    began = time.process_time()
    if state == STATES[1]:
        windows = study.windows_of(world.windows.stores)
        for batches in batches_ahead(windows, training.model, study.training, range(STEPS)):
            training.advance(batches)
    return training.model.eval(), time.process_time() - began


def study_of(family: str) -> PretrainingSettings:
    """The tiny preset of a family, and its short pretraining."""
    return PretrainingSettings(
        family=family,
        windows={"frames": 64, "tr": 2.0},
        training={
            "batch_size": BATCH,
            "clip_norm": 1.0,
            "schedule": {
                "total_steps": STEPS,
                "warmup_steps": STEPS // 10,
                "start_lr": 1e-5,
                "lr": PRETRAINED[family],
                "final_lr": 1e-5,
                "final_weight_decay": 0.04,
                "ema": 0.99,
            },
        },
    )


def question_of(table: str, dear: bool) -> tuple[TaskSettings, ProtocolSettings]:
    """What a table asks, and of whom; of what is dear, fewer random splits."""
    if table == "synthetic":
        return load_task("sex"), ProtocolSettings(kind="kfold", seeds=1)
    task = load_task("diagnosis")
    if table == "hospitals":
        return task, ProtocolSettings(kind="leave_one_site_out")
    both = task.model_copy(update={"include": (Rule(column=SPLIT),)})
    if table == "split":
        return both, ProtocolSettings(kind="column", split_column=SPLIT)
    return both, ProtocolSettings(kind="brainmarks", seeds=DEAR_SPLITS if dear else SPLITS)


def methods_of(world: World, data: TaskData, group: str) -> list[Method]:
    """Methods of a group of rows."""
    if group == "without scans":
        columns = {"motion only": MOTION, "tabular": TABULAR}
        return [FeatureMethod(name, FactsFeatures(found)) for name, found in columns.items()]
    if group.startswith("FC "):
        kind = group.removeprefix("FC ")
        return [*connectivity_methods(data, world.connectivity, [kind])]
    if group == "read-outs":
        return [*signal_methods(world.signals)]
    if group in SUPERVISED:
        return network_methods(world.windows, data, world.connectivity, [learners()[group]])
    if group in CHOSEN:
        return chosen_methods([group], world.windows, data, world.signals, world.cache)
    if group == SWIFT:
        return swift_methods(world)
    model, _ = world.model(group)
    rows = probe_methods(group, model, world.windows, world.signals, world.cache)
    kept = {f"{group}: {row}" for row in (PROBES[0], PUBLISHED)}
    return [row for row in rows if row.name in kept]


def swift_methods(world: World) -> list[Method]:
    """A SwiFT that was not pretrained: its probes, and fine-tuning as it is by default."""
    basis = basis_of_sum(connectivity_sum(world.windows), VOLUMES.basis, world.windows.atlas)
    model = VOLUMES.new_training(basis, "cpu").model.eval()
    rows = probe_methods(SWIFT, model, world.windows, world.signals, world.cache)
    kept = {f"{SWIFT}: {row}" for row in (PROBES[0], PUBLISHED)}
    tuned = FinetuneMethod(f"{SWIFT}: fine-tuned", model, world.windows, FinetuneSettings())
    return [*(row for row in rows if row.name in kept), tuned]


def measured(world: World, table: str, group: str) -> dict[str, Any]:
    """Figures of a group of rows in a table, without anything of a person.

    Parameters
    ----------
    world : World
    table, group : str

    Returns
    -------
    dict
        ``people`` and ``splits``; ``seconds`` of a core that the group took, ``pretraining``
        among them; ``weights`` of a pretrained network; and ``rows``, by name.
    """
    dear = group in SUPERVISED or group in COSTLY or ", " in group
    task, protocol = question_of(table, dear)
    data = task_data(task, world.windows)
    splits = splits_of(protocol, data)
    reference = _reference(world, table, data, splits)
    pretraining = world.model(group)[1] if ", " in group else 0.0
    began = time.process_time()
    methods = methods_of(world, data, group)
    found = predict_all(methods, data, splits)
    seconds = time.process_time() - began + pretraining
    rows = _scored(data, found, reference)
    for method in methods:
        rows[method.name]["weights"] = weights_of(method, data, splits[0])
    network = world.model(group)[0].embedder if ", " in group else None
    return {
        "people": len(data) if table != "split" else len(splits[0].test),
        "splits": len(splits),
        "seconds": round(seconds),
        "pretraining": round(pretraining),
        "weights": None if network is None else count(network),
        "rows": rows,
    }


def _reference(world: World, table: str, data: TaskData, splits: Sequence[Split]) -> Predictions:
    key = table, len(splits)
    if key not in world.references:
        fc = methods_of(world, data, "FC correlation")
        beside = [method for method in fc if method.name == REFERENCE]
        (world.references[key],) = predict_all(beside, data, splits)
    return world.references[key]


def _scored(
    data: TaskData, found: Sequence[Predictions], reference: Predictions
) -> dict[str, dict[str, Any]]:
    """By row, its metrics and what they are above the reference's, with intervals over people."""
    everything = [*(p for p in found if p.model != REFERENCE), reference]
    scores = score_models(data, everything)
    told: dict[str, dict[str, Any]] = {}
    for each in found:
        metrics = scores[each.model]
        told[each.model] = {
            metric: _figures(metrics[metric], scores[REFERENCE][metric])
            for metric in ("auc", "auc within site", "balanced accuracy")
            if metric in metrics
        }
    return told


def _figures(score: Score, base: Score) -> dict[str, float]:
    low, high = score.interval
    least, most = percentile_interval(score.draws - base.draws)
    found = {"mean": score.mean, "low": low, "high": high, "sd": score.sd,
             "above": score.mean - base.mean, "least": least, "most": most}  # fmt: skip
    return {name: round(float(value), 4) for name, value in found.items()}


def weights_of(method: Method, data: TaskData, split: Split) -> int | None:
    """Weights that learn from labels: of a network, or one a feature and a constant.

    None of fine-tuning, whose head has those of its probe.
    """
    if isinstance(method, FinetuneMethod):
        return None
    if isinstance(method, ConnectivityNetworkMethod):
        return count(method.learner.network(method.matrices.shape[1], len(data.classes)))
    if isinstance(method, ReadOutMethod):
        read = [readout.features(data, split.train) for readout in method.readouts]
        return sum(x.shape[1] for x in read) + 1
    assert isinstance(method, FeatureMethod | ProbeMethod)
    given = method.features
    x = given(data, split.train) if callable(given) else given
    return int(x.shape[1]) + 1


def count(network: nn.Module) -> int:
    """Parameters of a network."""
    return sum(p.numel() for p in network.parameters())
