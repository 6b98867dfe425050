"""A consortium of small synthetic sites in one process, and its people pooled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml

from brainjepa_client.answering.app import app
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.measure import HEADLINE, networks_of
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskData, TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.messages import BASIS
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings
from brainjepa_server.tasks.evaluation import evaluate_task
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines.inprocess import InProcessGrid

COHORT = CohortSettings(
    sites=3, subjects_per_site=30, rois=8, networks=4, latents=3, frames=40, missing_rois=0,
    second_sessions=0.0,
)  # fmt: skip
SEX = TaskSettings(
    name="sex", column="sex", kind="classification", classes={"female": ("F",), "male": ("M",)}
)
AGE = TaskSettings(name="age", column="age", kind="regression")
SETTINGS = StudySettings.model_validate(
    {
        "name": "small",
        "folds": 3,
        "rounds": {"local_steps": 2},
        "pretraining": {
            "model": {
                "width": 8, "depth": 1, "heads": 2, "patch": 4,
                "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2,
            },
            "windows": {"frames": 16},
            "basis": {"components": 3, "sparsity": 0.2},
            "training": {"batch_size": 4, "schedule": {"total_steps": 6, "warmup_steps": 2}},
        },
    }
)  # fmt: skip
QUICK = ProtocolSettings(kind="kfold", seeds=1, folds=2)
POLICY = {"min_subjects": 5, "min_people_in_sum": 1, "share_probe": True,
          "min_people_a_feature": 0, "round_counts_to": 1}  # fmt: skip


class Consortium:
    """Stores of a cohort, the global model, and what pooling everybody would give."""

    def __init__(self, folder: Path, cohort: CohortSettings = COHORT) -> None:
        self.folder = folder
        self.stores = [ScanStore.open(path) for path in write_cohort(cohort, folder / "stores")]
        self.windows = Windows(self.stores, SETTINGS.pretraining.windows)
        total = connectivity_sum(self.windows)
        self.gradients = ConsensusBasis.from_sum(total, 3, 0.2)
        model = SETTINGS.pretraining.new_model(self.gradients)
        self.weights = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        self.basis = self.weights.pop(BASIS)

    def sites(self, name: str = "plain", policy: Callable[[int], dict] = lambda _: {}) -> Sites:
        """Sites of this process, each with its policy."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for number, store in enumerate(self.stores):
            site = {
                "name": store.path.name,
                "store": str(store.path),
                "state": str(self.folder / "states" / store.path.name),
                "policy": {**POLICY, **policy(number)},
            }
            (folder / f"{store.path.name}.yaml").write_text(yaml.safe_dump(site))
        nodes = {store.path.name: node for node, store in enumerate(self.stores, start=1)}
        return Sites(self.grid(name), nodes)

    def grid(self, name: str) -> InProcessGrid:
        """A grid of sites that `sites` has made."""
        return InProcessGrid(app, len(self.stores), {"virtual-sites": str(self.folder / name)})

    def evaluate(self, sites: Sites, task: TaskSettings, **choices) -> TaskReport:
        choices = {"protocol": QUICK, **choices}
        question = StudyTask(task=task, **choices)
        return evaluate_task(sites, SETTINGS, self.weights, self.basis, question)

    def pooled(self, task: TaskSettings) -> tuple[TaskData, np.ndarray, np.ndarray]:
        """People of all sites together, their features of the headline pool and their folds."""
        model = BrainJEPA(SETTINGS.pretraining.model_settings(8), torch.tensor(self.basis))
        model.load_state_dict(
            {**{k: torch.tensor(v) for k, v in self.weights.items()}, BASIS: model.basis}
        )
        data = task_data(task, self.windows)
        networks = networks_of(self.windows, self.basis)
        people = data.people.tolist()
        found = cached_embeddings(model, self.windows, people, (HEADLINE,), networks, self.folder)
        folds = folds_of_windows(self.windows, SETTINGS.pretraining.training.seed, SETTINGS.folds)
        return data, np.asarray(found[HEADLINE], np.float64), folds[data.people]
