"""Is a pretrained encoder's probe better than that of random weights, person by person?

Pretrains on one synthetic cohort as `ingredients.py` does, then predicts each known trait of
*other* people (another seed) by the probe of the evaluation table, beside random weights and
connectivity, on the same folds, with a paired bootstrap over people.

    python benchmarks/learning/pretrained_probe.py               # 600 steps, 3 x 5 folds
    python benchmarks/learning/pretrained_probe.py --steps 60    # seconds
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from ingredients import COHORT, OTHER_PEOPLE, study_of

from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import from_scratch
from brainjepa_core.evaluation.methods.feature_methods import FeatureMethod
from brainjepa_core.evaluation.methods.model_methods import RANDOM, probe_methods
from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.resampling import score_models
from brainjepa_core.evaluation.scores.statistics import compare
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

TRAITS = ("latent_1", "latent_2", "latent_3", "latent_4")
PROTOCOL = ProtocolSettings(kind="kfold", seeds=3)


def pretrained(study: PretrainingSettings, folder: Path, seed: int) -> BrainJEPA:
    windows = windows_of(folder / "trained", study, seed)
    basis = ConsensusBasis.from_sum(connectivity_sum(windows), study.basis.components)
    training = study.new_training(basis, "cpu")
    steps = range(study.training.schedule.total_steps)
    for batches in batches_ahead(windows, training.model, study.training, steps):
        training.advance(batches)
    return training.model.eval()


def windows_of(folder: Path, study: PretrainingSettings, seed: int) -> Windows:
    stores = write_cohort(CohortSettings(**COHORT, seed=seed), folder)
    return study.windows_of([ScanStore.open(path) for path in stores])


def rows_of(trait: str, model: BrainJEPA, windows: Windows, cache: Path) -> list[dict[str, Any]]:
    """Pearson r of each model on one trait, and the paired difference to random weights."""
    data = task_data(TaskSettings(name=trait, column=trait, kind="regression"), windows)
    fc = FeatureMethod("FC correlation", ConnectivityFeatures(windows).of("correlation"))
    signals = SignalReadOuts(windows)
    methods = [
        fc,
        probe_methods("pretrained", model, windows, signals, cache)[0],
        probe_methods(RANDOM, from_scratch(model), windows, signals, cache)[0],
    ]
    scores = score_models(data, predict_all(methods, data, splits_of(PROTOCOL, data)))
    control = f"{RANDOM}: probe"
    pairs = {name: control for name in scores if name != control}
    against = compare(scores, pairs, data.task, PROTOCOL.kind)
    differences = {c.model: c for c in against if c.metric == "r"}
    return [
        {
            "trait": trait,
            "model": name,
            "r": round(metrics["r"].mean, 3),
            "more than random weights": None
            if name not in differences
            else [
                round(getattr(differences[name], part), 3)
                for part in ("difference", "low", "high", "p")
            ],
        }
        for name, metrics in scores.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    study = study_of(arguments.seed, arguments.steps, "default", {})
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = pretrained(study, folder, arguments.seed)
        others = windows_of(folder / "others", study, arguments.seed + OTHER_PEOPLE)
        for trait in TRAITS:
            for row in rows_of(trait, model, others, folder / "cache"):
                print(json.dumps(row))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
