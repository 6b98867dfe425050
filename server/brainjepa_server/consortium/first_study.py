"""A study to begin with, beside a new consortium: a YAML in which every key is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainjepa_core.command.commented_yaml import commented_yaml
from brainjepa_core.files import atomic_path
from brainjepa_server.settings import StudySettings

NAME = "study.yaml"
# What a coordinator decides anew in each study; and plain steps at the sites with an optimiser at
# the coordinator, which keeps in federation what training gains (docs/evaluation.md).
CHOSEN: dict[str, Any] = {
    "name": "first",
    "pretraining": {
        "family": "person_jepa",
        "windows": {"frames": 64, "tr": 2.0},
        "training": {
            "clip_norm": 1.0,
            "optimizer": "sgd",
            "schedule": {
                "total_steps": 240,
                "start_lr": 1.0,
                "lr": 1.0,
                "final_lr": 1.0,
                "weight_decay": 0.0,
                "final_weight_decay": 0.0,
            },
        },
    },
    "rounds": {"local_steps": 4, "quorum": 3},
    "aggregation": {
        "clip_norm": 3.0,
        "max_norm": 6.0,
        "outer": {"kind": "fedadam", "lr": 0.01, "beta2": 0.999},
    },
}
HEADING = (
    "A study: what its sites agree on. Change it, then propose it (brainjepa server propose): from "
    "then on it is a contract, and another text is another contract. Paths start at this file's "
    "folder."
)


def write_first_study(folder: Path) -> Path | None:
    """Write the study into the folder of a new consortium; its path, None where one is there."""
    path = folder / NAME
    if path.exists():
        return None
    with atomic_path(path) as temporary:
        temporary.write_text(commented_yaml(StudySettings, CHOSEN, HEADING), encoding="utf-8")
    return path
