"""Three baselines under one seed and one budget of local steps: pooled, federated, each site alone.

Every model starts from the same weights on the same basis, takes the study's optimiser steps on
its own people, and the coordinator's after each round, as a study of one site would, and is judged
on everybody's held-out fold by the same probes. A pooled step is of as many people as all sites'
steps together, so that everybody is seen as often as in the federation.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from brainjepa_client.judging.yardstick import sample_of, told_of
from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.site_people import SitePeople
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.machine.processors import use_threads
from brainjepa_core.machine.workers import in_order
from brainjepa_core.models.checkpoint import model_arrays, read_model, write_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.schedules import values_at
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_server.combining.outer import OuterOptimizer, next_weights
from brainjepa_server.record.history import POOLED, YardstickRow, alone, read_history, write_summary
from brainjepa_server.settings import COMPONENTS
from brainjepa_server.study_folder import BASIS_FILE, SUM_FILE
from brainjepa_server.tasks.yardstick import FederatedYardstick
from brainjepa_simulations.left_out import told_already
from brainjepa_simulations.scenario import Scenario

BASELINES = "baselines"


@dataclass(frozen=True)
class Baseline:
    """A model that is trained outside the federation, and on whose people it is judged."""

    name: str
    own: tuple[Path, ...]
    everyone: tuple[Path, ...]
    scenario: Scenario
    folder: Path


def compare(
    scenario: Scenario, folder: Path, stores: Sequence[ScanStore], processes: int
) -> Generator[str, None, None]:
    """Train the baselines of a finished study and add their rows to its summary.

    Yields each model's name as it is done. Models that are there are not trained again.
    """
    everyone = tuple(store.path for store in stores)
    whose = {POOLED: everyone} | {alone(path.name): (path,) for path in everyone}
    jobs = [Baseline(name, own, everyone, scenario, folder) for name, own in whose.items()]
    history = read_history(folder)
    rows = [row for row in history.baselines if row.model not in whose]
    with closing(in_order(_train_and_judge, jobs, processes)) as results:
        for job, found in zip(jobs, results, strict=True):
            rows += found
            yield job.name
    write_summary(folder, history.having(baselines=tuple(rows)))


@told_already()
def _train_and_judge(job: Baseline) -> list[YardstickRow]:
    use_threads(job.scenario.threads)
    settings, policy = job.scenario.study, job.scenario.policy
    basis = ConsensusBasis.load(job.folder / BASIS_FILE)
    path = job.folder / BASELINES / job.name.replace(" ", "-")
    if not path.exists():
        _train(job, basis, path)
    model = read_model(path)[0].to(job.scenario.device)
    mean_fc = ConnectivitySum.load(job.folder / SUM_FILE).mean_fc()
    components = connectivity_components(mean_fc, min(COMPONENTS, len(basis.rois)))
    with FederatedYardstick(settings.folds, settings.held_out_fold) as yardstick:
        for store in job.everyone:  # one by one, as sites would
            windows = settings.pretraining.windows_of([ScanStore.open(store)])
            folds = folds_of_windows(windows, settings.pretraining.training.seed, settings.folds)
            sample = sample_of(windows, folds, settings.assignment())
            read = windows.only(sample.tolist())
            people = SitePeople.of(model, read, components, folds[sample], settings.folds)
            yardstick.add(store.name, told_of(model, read, people, settings.assignment(), policy))
        return yardstick.measure(job.name).rows


def _train(job: Baseline, basis: ConsensusBasis, path: Path) -> None:
    settings = job.scenario.study
    study = _at_once(settings.pretraining, len(job.own))
    windows = study.windows_of([ScanStore.open(store) for store in job.own])
    folds = folds_of_windows(windows, study.training.seed, settings.folds)
    people = windows.only(np.flatnonzero(folds != settings.held_out_fold).tolist())
    training = study.new_training(basis, job.scenario.device, job.scenario.computing)
    outer = OuterOptimizer(settings.aggregation.outer, training.model.roles)
    for number in range(settings.total_rounds):
        base = _arrays(training.model)
        first = number * settings.rounds.local_steps
        steps = range(first, first + settings.rounds.local_steps)
        for batches in batches_ahead(people, training.model, study.training, steps):
            training.advance(batches)
        mean = {name: value.astype(np.float64) for name, value in _arrays(training.model).items()}
        momenta = [values_at(study.training.schedule, step).momentum for step in steps]
        new = next_weights(outer, settings.aggregation, base, mean, number, momenta)
        training.model.load_state_dict({name: torch.from_numpy(v) for name, v in new.items()})
    write_model(path, training.model, provenance(windows, basis))


def _at_once(study: PretrainingSettings, sites: int) -> PretrainingSettings:
    """The recipe with steps of so many sites' people, in micro-batches of one site's size."""
    recipe = study.training
    larger = {"batch_size": recipe.batch_size * sites, "accumulation": recipe.accumulation * sites}
    return study.model_copy(update={"training": recipe.model_copy(update=larger)})


def _arrays(model: BrainModel) -> dict[str, Float32]:
    return {name: value.cpu().numpy().copy() for name, value in model_arrays(model).items()}
