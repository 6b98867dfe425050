"""A task over the sites of a finished simulation, asked through messages: nobody's data move."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_client.answering.app import app as client_app
from brainjepa_core.evaluation.scores.metrics import metric_unit
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.files import atomic_path
from brainjepa_core.models.checkpoint import model_digest, read_model
from brainjepa_core.settings import read_settings
from brainjepa_core.version import VERSION
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import STUDY_FILE
from brainjepa_server.tasks.evaluation import TaskQuestion, evaluate_finished
from brainjepa_server.tasks.report import TaskReport
from brainjepa_simulations.engines.inprocess import InProcessGrid
from brainjepa_simulations.engines.virtual_sites import SITES


def evaluate_sites(
    folder: Path, task: TaskSettings, model: str = "final", penalty: float | None = None
) -> TaskReport:
    """Ask the sites of a simulated study about a task, with the study's model.

    Parameters
    ----------
    folder : Path
        Of the study: ``study.yaml``, ``sites/`` and models.
    task : TaskSettings
    model : {"final", "best"}
    penalty : float, optional
        Also a logistic probe of all sites with this penalty.

    Raises
    ------
    ValueError
        If the folder holds no finished study, or too few sites answer.
    """
    sites = len(list((folder / SITES).glob("*.yaml")))
    if not sites:
        raise ValueError(
            f"expected the folder of a simulated study with its {SITES}, found none in "
            f"'{folder}'; give the --out of brainjepa simulate"
        )
    settings = read_settings(folder / STUDY_FILE, StudySettings)
    run_config = {"virtual-sites": str((folder / SITES).resolve())}
    grid = InProcessGrid(client_app, sites, run_config)
    question = TaskQuestion(task, penalty=penalty)
    return evaluate_finished(grid, settings, folder, question, model, sites)


def report_origin(folder: Path, task: TaskSettings, model: str) -> dict[str, Any]:
    """What a report of a task is made from: the question, the model and the version."""
    trained, _ = read_model(folder / model)
    asked = task.model_dump(mode="json")
    return {"task": asked, "model": model, "weights": model_digest(trained), "version": VERSION}


def write_task_report(report: TaskReport, path: Path, origin: Mapping[str, Any]) -> None:
    """Write origin, rows, sites, matrices and who was left out as JSON; NaN becomes null."""
    content = {
        "made_from": dict(origin),
        "rows": report.rows(),
        "sites": {
            name: {"people": s.people, "classes": list(s.classes), "metrics": _plain(s.metrics)}
            for name, s in report.sites.items()
        },
        "units": {
            metric: metric_unit(metric, report.unit)
            for site in report.sites.values()
            for metrics in site.metrics.values()
            for metric in metrics
        },
        "matrices": {
            pool: {
                "sites": list(m.sites),
                "values": {metric: _plain(v.tolist()) for metric, v in m.values.items()},
                "units": {metric: metric_unit(metric, report.unit) for metric in m.values},
                "people": m.people,
                "reasons": m.reasons,
            }
            for pool, m in report.matrices.items()
        },
        "left_out": report.left_out,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")


def _plain(value: Any) -> Any:
    """Numbers that JSON has; None for the others."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
