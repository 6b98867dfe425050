"""What one model is worth: probes of its read-outs, alone and beside connectivity, and fine-tuned.

Shapes: n people of the windows, R ROIs, P features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures, Kind
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.predicted_phenotypes import predicted_phenotypes
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import FinetuneMethod, from_scratch
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.probe import ProbeMethod
from brainjepa_core.evaluation.learning.supervised import device_of
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.network_methods import ConnectivityNetworkMethod
from brainjepa_core.evaluation.methods.readout_methods import LATENT_ROWS, PROBES, latent_methods
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import Learner
from brainjepa_core.signals.windows import Windows

RANDOM, SCRATCH = "random weights", "from scratch"
FINE_TUNED, PUBLISHED, PHENOTYPES = "fine-tuned", "published probe", "predicted phenotypes"
READ_BY = (*PROBES, *LATENT_ROWS, PUBLISHED, PHENOTYPES, FINE_TUNED)  # all rows of a model


def probe_methods(
    name: str,
    model: BrainModel,
    windows: Windows,
    signals: SignalReadOuts,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Method]:
    """Probes of a model's frozen embeddings.

    Parameters
    ----------
    name : str
        Of the model, such as ``federated``.
    model : BrainModel
    windows : Windows
    signals : SignalReadOuts
        Of the same windows: the consensus that a network is read from, and what it is joined with.
    cache : Path, optional
        Where embeddings are kept by content.
    progress : callable, optional
        Called with the number of people embedded, and of all.

    Returns
    -------
    list of Method
        The probe that models are compared by, and its parts (`readout_methods.latent_methods`);
        the published probe (the pool of the model's authors, whose mean over tokens tells little of
        z-scored signals, but is shown all the same; normalisation without affine, one linear
        layer); of a model with heads on phenotypes, a linear model on their outputs.
    """
    people = range(windows.subjects)
    published = model.settings.published_pool
    pools = (LATENT_CONNECTIVITY, published)
    found = cached_embeddings(model, windows, people, pools, None, cache, progress)
    methods: list[Method] = [
        *latent_methods(name, found[LATENT_CONNECTIVITY], signals),
        ProbeMethod(f"{name}: {PUBLISHED}", found[published], device=_device(model)),
    ]
    if model.settings.learned_phenotypes:
        outputs = predicted_phenotypes(model, windows)
        methods.append(FeatureMethod(f"{name}: {PHENOTYPES}", outputs))
    return methods


def finetuned_methods(
    models: Mapping[str, BrainModel],
    windows: Windows,
    settings: FinetuneSettings,
    signals: SignalReadOuts,
    cache: Path | None = None,
) -> list[Method]:
    """Each model fine-tuned on each split's training part, on its device.

    And, the last one, the first model's network from random weights, by the same settings.
    """
    scratch = from_scratch(next(iter(models.values())), settings.seed)
    named = {f"{name}: {FINE_TUNED}": model for name, model in models.items()} | {SCRATCH: scratch}
    return [
        FinetuneMethod(name, model, windows, settings, _device(model), signals, cache)
        for name, model in named.items()
    ]


def network_methods(
    windows: Windows,
    data: TaskData,
    features: ConnectivityFeatures,
    learners: Sequence[Learner],
    device: str = "cpu",
) -> list[Method]:
    """Networks that learn from connectivity alone, trained on a device."""
    if not learners:
        return []
    matrices = connectivity_matrices(windows, data, features)
    partial = None
    if any(learner.network.reads_edges for learner in learners):
        partial = connectivity_matrices(windows, data, features, "partial correlation")
    return [ConnectivityNetworkMethod(one, matrices, partial, device=device) for one in learners]


def connectivity_matrices(
    windows: Windows, data: TaskData, features: ConnectivityFeatures, kind: Kind = "correlation"
) -> Float32:
    """Fisher z [n, R, R] of the task's people, NaN for others and for missing ROIs."""
    rois = len(windows.atlas)
    matrices = np.full((windows.subjects, rois, rois), np.nan, np.float32)
    rows, columns = np.tril_indices(rois, -1)
    pairs = features.of(kind)(data, np.arange(len(data)))
    for person, values in zip(data.people, pairs, strict=True):
        matrices[person, rows, columns] = matrices[person, columns, rows] = values
    return matrices


def controls_of(methods: Sequence[str], models: Iterable[str]) -> dict[str, str]:
    """By the name of a method of some models, that of the same method without pretraining."""
    found = {}
    for model in models:
        for method in of_model(methods, model):
            kind = method.removeprefix(f"{model}: ")
            control = SCRATCH if kind == FINE_TUNED else f"{RANDOM}: {kind}"
            if control in methods:
                found[method] = control
    return found


def of_model(methods: Iterable[str], model: str) -> list[str]:
    """Names of the methods of a model."""
    return [method for method in methods if method.startswith(f"{model}: ")]


def answering(methods: Iterable[str], model: str) -> list[str]:
    """Of these, those that a model is judged by: not single read-outs, which are their parts."""
    return [m for m in of_model(methods, model) if not m.startswith(f"{model}: latent ")]


def _device(model: BrainModel) -> str:
    return str(device_of(model))
