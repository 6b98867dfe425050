"""A public model for a trial of ``protect: dp``: of synthetic people who are at none of the sites.

A private study starts from a model, whose basis it takes; a trial has none, and makes one: random
weights on the basis of another synthetic cohort of the same ROIs.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.pretraining.site_sums.basis import basis_of_sum, connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.scenario import Scenario

PUBLIC_MODEL = "public-model"
OTHERS = 1000  # added to the seed of the sites' cohort
BUDGET = 8.0  # epsilon, of the study and of each site, where the scenario says nothing else


def private_trial(scenario: Scenario, folder: Path) -> Scenario:
    """The same under ``protect: dp``, starting from FOLDER/public-model, which is written.

    Raises
    ------
    ValueError
        If the scenario's sites are not synthetic, or the study cannot be private.
    """
    if scenario.study.protect == "dp":
        return scenario
    if scenario.cohort is None:
        raise ValueError(
            "expected a scenario with a cohort for a trial of protect: dp, since its public model "
            "is of other synthetic people, found data; write study.protect: dp with privacy and "
            "start_from into the scenario"
        )
    told = scenario.model_dump(exclude_none=True)
    told["policy"] = {"privacy_budget": {"epsilon": BUDGET}, **told["policy"]}
    told["study"] |= {
        "protect": "dp",
        "privacy": {"epsilon": BUDGET},
        "start_from": {"model": str(folder / PUBLIC_MODEL)},
        "tasks": (),
    }
    told["study"]["pretraining"]["training"].pop("clip_norm", None)  # each person's is clipped
    private = Scenario.model_validate(told)
    _write_model(scenario, folder / PUBLIC_MODEL)
    return private


def _write_model(scenario: Scenario, path: Path) -> None:
    assert scenario.cohort is not None
    study, seed = scenario.study.pretraining, scenario.cohort.seed + OTHERS
    others = scenario.cohort.model_copy(update={"seed": seed})
    with TemporaryDirectory() as place:
        stores = [ScanStore.open(store) for store in write_cohort(others, Path(place))]
        total = connectivity_sum(study.windows_of(stores))
        basis = basis_of_sum(total, study.basis, stores[0].atlas)
        tied = Provenance(
            atlas=stores[0].atlas.name,
            rois=basis.rois,
            basis_hash=basis.hash,
            signals=study.windows.model_dump(exclude={"short"}),
        )
    write_model(path, study.new_model(basis), tied)
