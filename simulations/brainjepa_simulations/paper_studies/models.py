"""Trained models of a study: each in a folder of its own, kept, and gone on with after a kill."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.origin import claim_folder
from brainjepa_core.pretraining.local import BASIS, RESULTS, run_origin
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.site_sums.basis import basis_of_sum, connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_server.record.history import FEDERATED, POOLED, alone
from brainjepa_server.settings import StudySettings
from brainjepa_simulations.baselines.compare import BASELINES, compare
from brainjepa_simulations.engines.engine import claim_run, run_study
from brainjepa_simulations.engines.virtual_sites import make_sites
from brainjepa_simulations.paper_studies.budget import Budget, Cost
from brainjepa_simulations.paper_studies.settings import PaperStudy
from brainjepa_simulations.scenario import Scenario

Name = tuple[str, str]  # site and subject
FINAL = "final"


def names_of(windows: Windows) -> list[Name]:
    """Site and subject of each person."""
    return [
        (windows.stores[person.store].path.name, person.records[0].subject)
        for person in windows.people
    ]


def people_of_share(windows: Windows, share: float, seed: int) -> list[Name]:
    """A share of each site's people, at least one; that of a smaller share is among them."""
    everybody, found = names_of(windows), []
    for site in sorted({site for site, _ in everybody}):
        members = sorted(name for name in everybody if name[0] == site)
        order = np.random.default_rng([seed, *site.encode()]).permutation(len(members))
        found += [members[i] for i in order[: max(1, round(share * len(members)))]]
    return found


def windows_to_train(
    settings: PretrainingSettings, stores: Sequence[ScanStore], people: Collection[Name]
) -> Windows:
    """Windows of those of some people that the settings' model can be trained on."""
    windows, wanted = settings.windows_of(stores), set(people)
    return windows.only([i for i, name in enumerate(names_of(windows)) if name in wanted])


def train(
    settings: PretrainingSettings, windows: Windows, run: Path, device: str, budget: Budget
) -> tuple[BrainModel | None, Cost]:
    """A model trained on some people; none where it is not there yet and costs too much.

    Parameters
    ----------
    settings : PretrainingSettings
    windows : Windows
    run : Path
        Goes on with what it holds.
    device : str
    budget : Budget

    Raises
    ------
    ValueError
        If the folder holds a run of other people or settings.
    """
    claim_folder(
        run, run_origin(windows, settings, settings.model_settings(len(windows.atlas))), RESULTS
    )
    if not (run / BASIS).exists():
        _basis(settings, windows).save(run / BASIS)
    basis = ConsensusBasis.load(run / BASIS)
    cost = budget.cost_of(settings, basis)
    if not (run / FINAL).exists():
        if not budget.affords(cost):
            return None, cost
        training = settings.new_training(basis, device)
        pretrain(training, windows, provenance(windows, basis), run, progress=False)
    return read_model(run / FINAL)[0].eval(), cost


def _basis(settings: PretrainingSettings, windows: Windows) -> ConsensusBasis:
    return basis_of_sum(connectivity_sum(windows), settings.basis, windows.atlas)


def train_together(
    study: PaperStudy,
    stores: Sequence[ScanStore],
    run: Path,
    device: str,
    budget: Budget,
    say: Callable[[str], None],
) -> tuple[dict[str, BrainModel], dict[str, tuple[Cost, int]]]:
    """Models of a consortium: trained together, on all data in one place, and at each site alone.

    Also what each costs and how many people train it; none where all of them are not there yet and
    what sites take together costs too much.

    Parameters
    ----------
    study : PaperStudy
    stores : sequence of ScanStore
        Of one folder, the sites'.
    run : Path
        Of a simulated study, which is gone on with.
    device : str
    budget : Budget
    say : callable
        Told what is done, in one line.
    """
    assert study.consortium is not None
    scenario = Scenario(
        data=stores[0].path.parent,
        policy=study.consortium.policy,
        device=device,
        study=study.together(),
    )
    claim_run(run, scenario)
    costs = _costs(scenario.study, stores, budget)
    if not (run / FINAL).exists() and not budget.affords(costs[FEDERATED][0]):
        return {}, costs
    sites = make_sites(scenario, run)
    run_study("inprocess", scenario, run, len(sites))
    say("trained together")
    with closing(compare(scenario, run, sites, 1)) as done:
        for name in done:
            say(f"trained: {name}")
    found = {name: run / BASELINES / name.replace(" ", "-") for name in costs}
    found[FEDERATED] = run / FINAL
    return {name: read_model(path)[0].eval() for name, path in found.items()}, costs


def _costs(
    study: StudySettings, stores: Sequence[ScanStore], budget: Budget
) -> dict[str, tuple[Cost, int]]:
    """Of each model of a consortium: together, all sites take the steps of one training each."""
    settings = study.pretraining
    cost = budget.cost_of(settings, _basis(settings, settings.windows_of(stores)))
    sites = len(stores)
    together = replace(cost, steps=sites * cost.steps, minutes=sites * cost.minutes)
    people = {alone(store.path.name): _who_train(study, store) for store in stores}
    everybody = sum(people.values())
    return {
        FEDERATED: (together, everybody),
        POOLED: (cost, everybody),
        **{name: (cost, own) for name, own in people.items()},
    }


def _who_train(study: StudySettings, store: ScanStore) -> int:
    """How many people of a site are not held out."""
    windows = study.pretraining.windows_of([store])
    folds = folds_of_windows(windows, study.pretraining.training.seed, study.folds)
    return int((folds != study.held_out_fold).sum())
