"""Reports of tasks on the disk: ``task-NAME.json`` in a study's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.scores.metrics import metric_unit
from brainjepa_core.files import atomic_path
from brainjepa_core.models.checkpoint import model_digest, read_model
from brainjepa_core.version import VERSION
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask


def report_origin(folder: Path, task: StudyTask, model: str) -> dict[str, Any]:
    """What a report of a task is made from: the question, the model and the version."""
    trained, _ = read_model(folder / model)
    asked = task.model_dump(mode="json")
    return {**asked, "model": model, "weights": model_digest(trained), "version": VERSION}


def is_made_from(path: Path, origin: Mapping[str, Any]) -> bool:
    """Whether a report is there, and was made from just this."""
    try:
        return bool(json.loads(path.read_text("utf-8"))["made_from"] == origin)
    except (OSError, ValueError, TypeError, KeyError):
        return False


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
