"""Studies under ``protect: dp`` of small consortia, from a model of random weights and basis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_consortium import plan, prepare, scenario

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import Provenance, write_model
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.engines.virtual_sites import STORES
from brainjepa_simulations.scenario import Scenario


def private(
    folder: Path, sites: int = 2, steps: int = 2, privacy: dict | None = None, **changes
) -> Scenario:
    """A study of six steps under epsilon 8, from a model of random weights and basis."""
    open_study = scenario(sites, steps, **changes)
    prepare(open_study, folder)
    store = ScanStore.open(min((folder / STORES).iterdir()))
    rois, settings = store.atlas.rois, open_study.study.pretraining
    gradients = np.random.default_rng(0).standard_normal((len(rois), settings.basis.components))
    basis = ConsensusBasis(tuple(rois), gradients, np.full(gradients.shape[1], np.nan))
    tied = Provenance(
        atlas=store.atlas.name,
        rois=tuple(rois),
        basis_hash=basis.hash,
        signals=settings.windows.model_dump(exclude={"short"}),
    )
    model = folder.parent / f"{folder.name}-public"
    if not model.exists():
        write_model(model, settings.new_model(basis), tied)
    told = plan(sites, steps, **changes)
    told["policy"] |= {"privacy_budget": {"epsilon": 8 if privacy is None else 1e12}}
    told["study"] |= {
        "protect": "dp",
        "privacy": privacy or {"epsilon": 8, "clip": 0.5},
        "start_from": {"model": str(model)},
    }
    return Scenario.model_validate(told)
