"""Reports of tasks on the disk: ``task-NAME.json`` in a study's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.scores.metrics import metric_unit
from brainjepa_core.files import atomic_path
from brainjepa_core.models.checkpoint import model_digest, read_model
from brainjepa_core.version import VERSION
from brainjepa_server.record.fields import Count, Number, Record, Settings
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask


class TaskRow(Record):
    """A row of `TaskReport.rows`."""

    model: str
    task: str = ""
    protocol: str = ""
    metric: str
    mean: Number
    sd: Number = None
    low: Number = None
    high: Number = None
    n: Count
    unit: str = ""


class SiteInFile(Record):
    """Fields as of `SiteScores`, which is accepted in its place."""

    people: Count
    classes: tuple[int, ...] = ()
    metrics: dict[str, dict[str, Number]] = {}


class MatrixInFile(Record):
    """Fields as of `CrossSiteMatrix`, values as rows of numbers, and units by metric."""

    sites: tuple[str, ...]
    values: dict[str, tuple[tuple[Number, ...], ...]]
    units: dict[str, str] = {}
    people: dict[str, int] = {}
    reasons: dict[str, str] = {}


class TaskFile(Record):
    """What ``task-NAME.json`` holds: origin, rows, sites, units, matrices and who was left out."""

    made_from: Settings = {}
    rows: tuple[TaskRow, ...]
    sites: dict[str, SiteInFile] = {}
    units: dict[str, str] = {}
    matrices: dict[str, MatrixInFile] = {}
    left_out: dict[str, dict[str, str]] = {}


def task_of(path: Path) -> str:
    """Name of the task whose report lies at a path."""
    return path.stem.removeprefix("task-")


def read_task_report(path: Path) -> TaskFile:
    """Read a report.

    Raises
    ------
    OSError, ValueError
        If it is not there, or damaged.
    """
    return TaskFile.model_validate_json(path.read_bytes())


def task_reports(folder: Path) -> dict[Path, TaskFile | None]:
    """Every task's report in a study's folder, by name; None where one cannot be read."""
    return {path: _read(path) for path in sorted(folder.glob("task-*.json"))}


def _read(path: Path) -> TaskFile | None:
    try:
        return read_task_report(path)
    except (OSError, ValueError):
        return None


def report_origin(folder: Path, task: StudyTask, model: str) -> dict[str, Any]:
    """What a report of a task is made from: the question, the model and the version."""
    trained, _ = read_model(folder / model)
    asked = task.model_dump(mode="json")
    return {**asked, "model": model, "weights": model_digest(trained), "version": VERSION}


def is_made_from(path: Path, origin: Mapping[str, Any]) -> bool:
    """Whether a report is there, and was made from just this."""
    found = _read(path)
    return found is not None and found.made_from == origin


def write_task_report(report: TaskReport, path: Path, origin: Mapping[str, Any]) -> None:
    """Write a report as JSON; NaN becomes null."""
    metrics = {
        metric
        for site in report.sites.values()
        for model in site.metrics.values()
        for metric in model
    }
    content = TaskFile(
        made_from=dict(origin),
        rows=report.rows(),
        sites=report.sites,
        units={metric: metric_unit(metric, report.unit) for metric in sorted(metrics)},
        matrices={
            pool: {
                "sites": m.sites,
                "values": {metric: v.tolist() for metric, v in m.values.items()},
                "units": {metric: metric_unit(metric, report.unit) for metric in m.values},
                "people": m.people,
                "reasons": m.reasons,
            }
            for pool, m in report.matrices.items()
        },
        left_out=report.left_out,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(f"{content.model_dump_json(indent=1)}\n", "utf-8")
