"""The studies in a consortium's folder: which one a server runs, and whether it has ended."""

from __future__ import annotations

from pathlib import Path

import yaml

from brainjepa_core.files import atomic_path
from brainjepa_core.settings import read_settings
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.consortium.proposing import proposed
from brainjepa_server.record.history import SUMMARY, read_history
from brainjepa_server.rounds.checkpoint import STATE, require_same, round_name
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import FINAL, STUDY_FILE, task_report


def place_study(folder: ConsortiumFolder, path: Path) -> str:
    """Put a study's settings into the consortium's folder; the study's name.

    Raises
    ------
    ValueError
        If they are wrong, or a study of that name began with others.
    """
    settings = read_settings(path, StudySettings)
    study, told = folder.studies / settings.name, settings.model_dump(mode="json")
    if (study / SUMMARY).exists():
        require_same(read_history(study).settings, told, f"study '{settings.name}'")
    study.mkdir(parents=True, exist_ok=True)
    with atomic_path(study / STUDY_FILE) as temporary:
        temporary.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return settings.name


def unfinished_study(folder: ConsortiumFolder) -> str | None:
    """The study to go on with where none is named; None where there is none.

    Raises
    ------
    ValueError
        If there are several.
    """
    names = [name for name in study_names(folder) if not is_finished(folder, name)]
    if len(names) > 1:
        raise ValueError(
            f"expected one study that has not ended, found {len(names)} ({', '.join(names)}); name "
            "the one to go on with by its YAML"
        )
    return names[0] if names else None


def study_names(folder: ConsortiumFolder) -> list[str]:
    """Names of the studies that are there, sorted."""
    return sorted(path.parent.name for path in folder.studies.glob(f"*/{STUDY_FILE}"))


def is_finished(folder: ConsortiumFolder, name: str) -> bool:
    """Whether a study has its last round, its model and the reports of its tasks."""
    study = folder.studies / name
    settings = read_settings(study / STUDY_FILE, StudySettings)
    last = study / "rounds" / round_name(settings.total_rounds) / STATE
    reports = [task_report(study, task.task.name) for task in settings.tasks]
    made = (last, study / FINAL / "model.safetensors", *reports)
    return all(path.is_file() for path in made)


def require_proposed(folder: ConsortiumFolder, name: str) -> None:
    """Refuse to begin a study whose contract sites cannot have approved.

    Raises
    ------
    ValueError
        If it was not proposed, or its settings or the admitted sites have changed since.
    """
    proposed(folder, read_settings(folder.studies / name / STUDY_FILE, StudySettings))
