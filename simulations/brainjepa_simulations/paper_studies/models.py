"""Trained models of a study: each in a folder of its own, kept, and gone on with after a kill."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.origin import claim_folder
from brainjepa_core.pretraining.local import BASIS, RESULTS, basis_of_run, run_origin
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_server.record.history import FEDERATED, POOLED, alone
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
    basis, _ = basis_of_run(windows, settings, run)
    if not (run / BASIS).exists():
        basis.save(run / BASIS)
    cost = budget.cost_of(settings, basis)
    if not (run / FINAL).exists():
        if not budget.affords(cost):
            return None, cost
        training = settings.new_training(basis, device)
        pretrain(training, windows, provenance(windows, basis), run, progress=False)
    return read_model(run / FINAL)[0].eval(), cost


def train_together(
    study: PaperStudy, stores: Sequence[ScanStore], run: Path, say: Callable[[str], None]
) -> dict[str, BrainModel]:
    """Models of a consortium: trained together, on all data in one place, and at each site alone.

    Parameters
    ----------
    study : PaperStudy
    stores : sequence of ScanStore
        Of one folder, the sites'.
    run : Path
        Of a simulated study, which is gone on with.
    say : callable
        Told what is done, in one line.
    """
    assert study.consortium is not None
    scenario = Scenario(
        data=stores[0].path.parent, policy=study.consortium.policy, study=study.together()
    )
    claim_run(run, scenario)
    sites = make_sites(scenario, run)
    run_study("inprocess", scenario, run, len(sites))
    say("trained together")
    with closing(compare(scenario, run, sites, 1)) as done:
        for name in done:
            say(f"trained: {name}")
    found = {FEDERATED: run / FINAL}
    found |= {name: run / BASELINES / name.replace(" ", "-") for name in _baselines(sites)}
    return {name: read_model(path)[0].eval() for name, path in found.items()}


def _baselines(sites: Sequence[ScanStore]) -> list[str]:
    return [POOLED, *(alone(site.path.name) for site in sites)]
