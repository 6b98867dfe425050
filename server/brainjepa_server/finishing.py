"""The end of a study: its models in folders of their own, and what MLflow keeps besides numbers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_server.record import figures
from brainjepa_server.record.history import ROUNDS, SUMMARY, RunHistory
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.study_folder import BASIS_FILE, BEST, FINAL, STUDY_FILE


def write_weights(
    path: Path,
    study: PretrainingSettings,
    basis: ConsensusBasis,
    weights: Mapping[str, Float32],
    tied: Provenance,
) -> None:
    """Write global weights as a model's folder, in the place of an earlier one."""
    model = study.new_model(basis)
    arrays = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
    model.load_state_dict({**arrays, "basis": model.basis})
    if path.exists():
        shutil.rmtree(path)
    write_model(path, model, tied)


def publish(
    tracker: StudyTracker,
    folder: Path,
    history: RunHistory,
    basis: ConsensusBasis,
    mean_fc: Float64,
) -> None:
    """Give MLflow pictures, settings, basis and models of a finished study."""
    tracker.log_figure(figures.consensus(basis, mean_fc), "consensus")
    tracker.log_figure(figures.losses(history.rounds), "losses")
    for name in (SUMMARY, ROUNDS, STUDY_FILE, BASIS_FILE):
        if (folder / name).exists():
            tracker.log_file(folder / name)
    for path in sorted((folder / BEST).glob("*")):
        tracker.log_file(path, BEST)
    tracker.register_model(history.name, folder / FINAL)
