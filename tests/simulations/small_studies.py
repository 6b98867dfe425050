"""Shipped studies at a size that runs in seconds: fewer people, regions and steps."""

from __future__ import annotations

from pathlib import Path

import yaml

from brainjepa_simulations.paper_studies.settings import merge, study_file

TINY = {"width": 16, "depth": 1, "heads": 2}
SMALL = {
    "cohort": {"sites": 3, "subjects_per_site": 14, "rois": 24, "networks": 6, "frames": 192},
    "protocol": {"kind": "kfold", "seeds": 1, "folds": 2},
    "pretraining": {
        "model": TINY,
        "windows": {"frames": 64},
        "basis": {"components": 6},
        "training": {"batch_size": 4, "schedule": {"total_steps": 3, "warmup_steps": 1}},
    },
}


def small(name: str, folder: Path, **changes: object) -> Path:
    """The YAML of a shipped study, small, in a folder."""
    told = merge(merge(yaml.safe_load(study_file(name).read_text()), SMALL), changes)
    if any("basis" in v.get("pretraining", {}) for v in told["variants"].values()):
        del told["pretraining"]["basis"]  # each variant says its own
    if told.get("kind") in ("transfer", "attention"):
        del told["protocol"]  # which they never read
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path
