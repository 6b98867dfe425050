"""What fine-tuning adds to the frozen probe, by what moves: the head, adapters, or all.

On hospitals of ABIDE, folds of whole hospitals that were not learned from; or on the synthetic
cohort, whose traits live in the connectivity, five folds of people. Each row beside the frozen
probe that it starts from, with the paired difference over people.

    python benchmarks/learning/finetuning.py ../shared/data/abide --rois 200
    python benchmarks/learning/finetuning.py                        # the synthetic cohort
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ingredients import COHORT
from readouts import windows_of

from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.learning.finetune import FinetuneMethod
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.learning.supervised import Look
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.readout_methods import latent_methods
from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.resampling import score_models
from brainjepa_core.evaluation.scores.statistics import compare
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings, load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

STUDY = PretrainingSettings(
    model={"width": 32, "depth": 2, "heads": 2, "predictor_width": 16, "predictor_heads": 2},
    windows={"frames": 64},
)
HOSPITALS = ProtocolSettings(kind="leave_one_site_out", seeds=1)
PEOPLE = ProtocolSettings(kind="kfold", seeds=1)
SHOWN = {"diagnosis": "auc", "age": "r within site"}
PROBE = "probe"


def look(found: Look) -> None:
    print(f"    step {found.steps}: {found.loss:.4f}, {found.validation}", flush=True)


def methods_of(
    model: BrainModel, windows: Windows, ways: Sequence[str], choices: dict[str, float], cache: Path
) -> list[Method]:
    """The frozen probe, and fine-tuning in some ways."""
    signals, pools = SignalReadOuts(windows), (LATENT_CONNECTIVITY,)
    found = cached_embeddings(model, windows, range(windows.subjects), pools, cache=cache)
    frozen = replace(latent_methods("x", found[pools[0]], signals)[0], name=PROBE)
    return [
        frozen,
        *(
            FinetuneMethod(
                f"fine-tuned, train: {way}", model, windows,
                FinetuneSettings(train=way, **choices), "cpu", signals, cache, look,
            )
            for way in ways
        ),
    ]  # fmt: skip


def table(data: TaskData, protocol: ProtocolSettings, methods: Sequence[Method]) -> None:
    """A row a method: the score with 95 % over people, and the paired difference to the probe."""
    metric = SHOWN.get(data.task.name, "r")
    scores = score_models(data, predict_all(methods, data, splits_of(protocol, data)))
    pairs = {name: PROBE for name in scores if name != PROBE}
    against = {
        c.model: c for c in compare(scores, pairs, data.task, protocol.kind) if c.metric == metric
    }
    print(f"\n| {data.task.name} | {metric} | 95 % | more than the probe | 95 % |")
    print("|---" * 5 + "|")
    for name, metrics in scores.items():
        row = metrics[metric].row(name, data.task, protocol.kind, metric)
        c = against.get(name)
        more = "| | |" if c is None else f"| {c.difference:+.3f} | {c.low:+.3f} to {c.high:+.3f} |"
        print(f"| {name} | {row.mean:.3f} | {row.low:.3f} to {row.high:.3f} {more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rois", type=int)
    parser.add_argument("--tasks", nargs="*", default=None)
    parser.add_argument("--ways", nargs="*", default=["head", "adapters", "all"])
    parser.add_argument("--folds", type=int, help="of whole hospitals; each alone by default")
    parser.add_argument("--steps", type=int, default=FinetuneSettings().steps)
    parser.add_argument("--lr", type=float, default=FinetuneSettings().lr)
    parser.add_argument("--head-lr", type=float, default=FinetuneSettings().head_lr)
    arguments = parser.parse_args()
    choices = {"steps": arguments.steps, "lr": arguments.lr, "head_lr": arguments.head_lr}
    with TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.folder is None:
            stores = write_cohort(CohortSettings(**COHORT, seed=1), folder)
            windows = STUDY.windows_of([ScanStore.open(path) for path in stores])
            tasks = arguments.tasks or ["latent_1", "latent_2"]
            protocol = PEOPLE
        else:
            windows = windows_of(arguments.folder, folder, slice(arguments.rois), STUDY)
            tasks, protocol = arguments.tasks or list(SHOWN), HOSPITALS
        model = STUDY.new_model(consensus_basis(windows)).eval()
        methods = methods_of(model, windows, arguments.ways, choices, folder)
        for task in tasks:
            settings = (
                load_task(task)
                if arguments.folder
                else TaskSettings(name=task, column=task, kind="regression")
            )
            data = task_data(settings.model_copy(update={"within_site": True}), windows)
            if arguments.folds:
                number = np.unique(data.sites, return_inverse=True)[1] % arguments.folds
                data = replace(data, sites=np.array([f"fold {k}" for k in number]))
            began = time.perf_counter()
            table(data, protocol, methods)
            print(f"\n{task}: {time.perf_counter() - began:.0f} s in all", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
