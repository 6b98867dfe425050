"""The yardstick of a local run: its model beside random weights and connectivity."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from brainjepa_core.evaluation.measure import (
    YardstickScore,
    measure_connectivity,
    measure_model,
    networks_of,
    outcomes_of,
)
from brainjepa_core.files import atomic_path
from brainjepa_core.machine.devices import require_device
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.pretraining.local import basis_of_run
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.signals.storing.store import ScanStore


def measure_run(
    run: Path, stores: list[ScanStore], study: PretrainingSettings, device: str = "cpu"
) -> list[YardstickScore]:
    """Rows of the yardstick for RUN/final; also written to ``RUN/yardstick.json``.

    Raises
    ------
    ValueError
        If the run is of other settings, another atlas or another basis than the study's.
    """
    require_device(device)
    model, found = read_model(run / "final")
    windows = study.windows_of(stores)
    basis, mean_fc = basis_of_run(windows, study, run)
    provenance(windows, basis).require(found)
    if model.settings != study.model_settings(len(basis.rois)).plain:
        raise ValueError(
            "expected the model settings of the run, found others, so that random weights would "
            "be those of another model; give the --settings it was pretrained with"
        )
    outcomes = outcomes_of(windows, mean_fc, study.training.seed)
    rows = measure_model("pretrained", model.to(device), windows, outcomes)
    rows += measure_model("random weights", study.new_model(basis).to(device), windows, outcomes)
    rows += measure_connectivity(windows, outcomes, networks_of(windows, basis.gradients))
    with atomic_path(run / "yardstick.json") as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return rows
