"""Rows that are asked for by name; where traits live in connectivity, all of them tell."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.evaluation.methods.chosen import ALL, methods_named, names_of_methods
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import load_task
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.evaluating.many_models import run_evaluation

NAMES = (
    "tangent",
    "consensus_tangent",
    "consensus_basis",
    "coskewness",
    "brainnetcnn",
    "brain_network_transformer",
    "braingnn",
)


def test_methods_by_their_names():
    assert names_of_methods() == NAMES == methods_named(ALL)
    assert methods_named("braingnn, tangent") == ("tangent", "braingnn")
    assert methods_named("") == ()
    with pytest.raises(
        ValueError, match=r"expected methods among tangent, .*, or all, found 'gnn'"
    ):
        methods_named("tangent,gnn")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes of a quiet core
def test_every_supervised_family_is_above_chance_in_one_table(tmp_path):
    cohort = CohortSettings(
        sites=3, subjects_per_site=60, rois=24, networks=8, latents=3, frames=150
    )
    write_cohort(cohort, tmp_path / "stores")
    results = run_evaluation(
        tmp_path / "stores",
        (),
        load_task("sex"),
        ProtocolSettings(kind="kfold", seeds=1),
        tmp_path / "out",
        methods=methods_named(ALL),
    )
    auc = {row.model: row for row in results.rows if row.metric == "auc"}
    asked = [name for name in auc if name.startswith("FC") or name in TITLES]
    assert len(asked) == 2 * 6 + 3
    for name in asked:
        print(f"{name}: {auc[name].mean:.3f} [{auc[name].low:.3f}, {auc[name].high:.3f}]")
    assert {name for name in asked if auc[name].low <= 0.5} == set()
    assert np.isfinite([auc[name].mean for name in auc]).all()


TITLES = ("BrainNetCNN", "Brain Network Transformer", "BrainGNN")
