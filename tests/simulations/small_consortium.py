"""Consortia of a dozen people a site and a model of a few hundred weights, in one process."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.machine.workers import in_order
from brainjepa_core.models.checkpoint import model_arrays, read_model
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.step import Training
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines.engine import run_study
from brainjepa_simulations.engines.virtual_sites import STORES, make_sites
from brainjepa_simulations.scenario import Scenario

COHORT = {
    "sites": 3, "subjects_per_site": 10, "rois": 8, "networks": 4, "latents": 3, "frames": 40,
    "missing_rois": 0, "second_sessions": 0.2,
}  # fmt: skip
MODEL = {
    "width": 8, "depth": 1, "heads": 2, "patch": 4,
    "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2,
}  # fmt: skip
TOTAL = 6


def plan(
    sites: int = 2,
    steps: int = 2,
    *,
    cohort: dict | None = None,
    rounds: dict | None = None,
    aggregation: dict | None = None,
    training: dict | None = None,
    **others: Any,
) -> dict:
    """A scenario as its YAML has it: six steps in rounds of `steps`, every floor at one."""
    return {
        "cohort": {**COHORT, "sites": sites, **(cohort or {})},
        "policy": {
            "min_subjects": 1,
            "min_people_in_sum": 1,
            "min_people_a_feature": 0,
            "round_counts_to": 1,
        },
        "study": {
            "name": "small",
            "floors": {"sites": 1, "subjects_per_site": 1, "subjects": 1},
            "rounds": {"local_steps": steps, "quorum": 1, "evaluate_every": 2, **(rounds or {})},
            "aggregation": aggregation or {},
            "pretraining": {
                "model": MODEL,
                "windows": {"frames": 16},
                "basis": {"components": 3, "sparsity": 0.2},
                "training": {
                    "batch_size": 4,
                    "schedule": {"total_steps": TOTAL, "warmup_steps": 2, "lr": 0.01, "ema": 0.9},
                    **(training or {}),
                },
            },
        },
        **others,
    }


def scenario(*arguments: Any, **changes: Any) -> Scenario:
    return Scenario.model_validate(plan(*arguments, **changes))


COHORTS: dict[str, Path] = {}


def prepare(chosen: Scenario, folder: Path) -> None:
    """Put the cohort's stores in place, written once for all tests."""
    folder.mkdir(parents=True, exist_ok=True)
    if chosen.cohort is None or (folder / STORES).exists():
        return
    key = chosen.cohort.model_dump_json()
    if key not in COHORTS:
        COHORTS[key] = Path(tempfile.mkdtemp(prefix="cohort-", dir=folder.parent)) / STORES
        write_cohort(chosen.cohort, COHORTS[key])
    shutil.copytree(COHORTS[key], folder / STORES)


def run(chosen: Scenario, folder: Path) -> Path:
    """Run in one process, as the engine does; the folder."""
    prepare(chosen, folder)
    run_study("inprocess", chosen, folder, len(make_sites(chosen, folder)))
    return folder


def weights(folder: Path, name: str = "final") -> dict[str, np.ndarray]:
    model, _ = read_model(folder / name)
    return {key: value.numpy() for key, value in model_arrays(model).items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(a[k].astype("f8") - b[k]).sum() for k in a)))


def summary(folder: Path, *, timed: bool = False) -> Any:
    """What a study recorded, rounds too, without what a clock measured unless `timed`."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without(v) for k, v in value.items() if not k.startswith("seconds")}
        return [without(v) for v in value] if isinstance(value, list) else value

    found = json.loads((folder / "summary.json").read_text())
    found["rounds"] = [json.loads(line) for line in (folder / "rounds.jsonl").open()]
    return found if timed else without(found)


def training_people(chosen: Scenario, folder: Path) -> Windows:
    """Of all sites, those outside the held-out fold."""
    stores = [ScanStore.open(path) for path in sorted((folder / STORES).iterdir())]
    study = chosen.study
    windows = Windows(stores, study.pretraining.windows)
    folds = folds_of_windows(windows, study.pretraining.training.seed, study.folds)
    return windows.only(np.flatnonzero(folds != study.held_out_fold).tolist())


def local_training(chosen: Scenario, folder: Path, device: str = "cpu") -> Training:
    """The same steps on the same basis without a federation."""
    study = chosen.study.pretraining
    people = training_people(chosen, folder)
    training = study.new_training(ConsensusBasis.load(folder / "basis.npz"), device)
    for step in range(study.training.schedule.total_steps):
        training.advance(batches_of_step(people, training.model, study.training, step))
    return training


def bits(training: Training) -> dict[str, np.ndarray]:
    return {k: v.cpu().numpy().copy() for k, v in model_arrays(training.model).items()}


class NoTracker:
    """In MLflow's place, which takes seconds to start."""

    def __init__(self, folder: Path) -> None:
        self.run_id = None

    def start(self, *_: Any) -> None:
        pass

    log_round = log_figure = log_file = register_model = finish = start
    log_sites = log_baselines = start


class FakeClient:
    """What a study asks of MLflow, kept in memory; shared by all trackers of a test."""

    def __init__(self) -> None:
        self.runs: dict[str, Any] = {}
        self.losses: list[tuple[int, float]] = []
        self.statuses: list[str] = []

    def __call__(self, uri: str) -> FakeClient:
        return self

    def create_run(self, experiment: str, run_name: str) -> Any:
        run_id = f"run{len(self.runs) + 1}"
        info = SimpleNamespace(run_id=run_id, lifecycle_stage="active", artifact_uri="")
        data = SimpleNamespace(params={}, metrics={})
        self.runs[run_id] = SimpleNamespace(info=info, data=data)
        return self.runs[run_id]

    def get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def log_batch(self, run_id: str, metrics: Sequence = (), **of_the_start: list) -> None:
        self.losses += [(m.step, m.value) for m in metrics if m.key == "loss"]

    def set_terminated(self, run_id: str, status: str = "FINISHED") -> None:
        self.statuses.append(status)

    def search_model_versions(self, query: str) -> list:
        return []

    def search_runs(self, *_: Any, **__: Any) -> list:
        return []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: SimpleNamespace(experiment_id="1")


def in_this_process_alone(work: Callable, items: Iterable, processes: int) -> Iterator:
    """In the place of `in_order`, whose processes would each take seconds to start."""
    assert processes >= 1
    return in_order(work, items, 1)
