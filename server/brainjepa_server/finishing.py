"""The models of a study in folders of their own, and what MLflow keeps besides numbers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.evaluation.pyfunc_model import reads_series, write_pyfunc
from brainjepa_core.files import atomic_folder
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.adapters import without_adapters
from brainjepa_core.models.checkpoint import Provenance, write_model, write_model_files
from brainjepa_core.models.consensus_file import write_consensus
from brainjepa_core.models.sharing.card import write_card
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import RoundRecord, RunHistory
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.reporting import figures
from brainjepa_server.reporting.day_one_card import day_one_card
from brainjepa_server.reporting.study_card import write_cards
from brainjepa_server.rounds.checkpoint import RoundState, read_round, round_folders, round_name
from brainjepa_server.rounds.joining import Members
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import BASIS_FILE, BEST, DAY_ONE, FINAL, STUDY_FILE


def write_day_one(
    folder: Path,
    settings: StudySettings,
    basis: ConsensusBasis,
    members: Members,
    mean_fc: Float64,
    facts: BasisFacts,
) -> None:
    """Write ``day-one``, unless it is there: the network before any training, and the consensus.

    Parameters
    ----------
    folder : Path
        Of the study.
    settings : StudySettings
    basis : ConsensusBasis
    members : Members
        Whose atlas the model is of.
    mean_fc : ndarray of float64 [R, R]
        The consensus connectivity.
    facts : BasisFacts
        What is recorded of it.
    """
    path = folder / DAY_ONE
    if path.exists():
        return
    told = _provenance(settings, basis, members)
    untrained = settings.pretraining.new_model(basis)
    with atomic_folder(path) as made:
        write_model_files(made, without_adapters(untrained), told)
        write_consensus(made, mean_fc)
        write_card(made, day_one_card(settings.name, basis, facts))


def _provenance(settings: StudySettings, basis: ConsensusBasis, members: Members) -> Provenance:
    return Provenance(
        atlas=members.atlas,
        rois=members.rois,
        basis_hash=basis.hash,
        signals=settings.pretraining.windows.model_dump(exclude={"short"}),
    )


def write_models(
    folder: Path,
    settings: StudySettings,
    basis: ConsensusBasis,
    members: Members,
    state: RoundState,
    best: RoundRecord | None,
    mean_fc: Float64 | None,
) -> None:
    """Write ``final`` (the last round) and ``best`` (the best by the yardstick), if there is one.

    Parameters
    ----------
    folder : Path
        Of the study.
    settings : StudySettings
    basis : ConsensusBasis
    members : Members
        Whose atlas the models are of.
    state : RoundState
        Of the last round.
    best : RoundRecord, optional
        Its round has to be on the disk to be written.
    mean_fc : ndarray of float64 [R, R], optional
        The consensus connectivity, where there is one.
    """
    models = {FINAL: state.weights}
    for path in round_folders(folder):
        if best and path.name == round_name(best.number):
            models[BEST] = read_round(path, settings, basis.hash).weights
    tied = _provenance(settings, basis, members)
    for name, weights in models.items():
        _write_weights(folder / name, settings.pretraining, basis, weights, tied)
        if mean_fc is not None:
            write_consensus(folder / name, mean_fc)


def _write_weights(
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
    mean_fc: Float64 | None,
) -> None:
    """Write the models' cards; give MLflow pictures, settings, basis and models of the study."""
    write_cards(folder)
    tracker.log_figure(figures.consensus(basis, mean_fc), "consensus")
    if any(record.loss is not None for record in history.rounds):
        tracker.log_figure(figures.losses(history.rounds), "losses")
    for name in (STUDY_FILE, BASIS_FILE):
        if (folder / name).exists():
            tracker.log_file(folder / name)
    for path in sorted((folder / BEST).glob("*")):
        tracker.log_file(path, BEST)
    if reads_series(folder / FINAL):
        tracker.register_model(history.name, partial(write_pyfunc, folder / FINAL))
        if (folder / DAY_ONE).exists():
            write = partial(write_pyfunc, folder / DAY_ONE)
            tracker.register_model(f"{history.name}-{DAY_ONE}", write, DAY_ONE)
    tracker.log_baselines(history)
