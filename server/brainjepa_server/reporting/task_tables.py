"""The tasks of a study on its page: what each one's report says, and who is left out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_core.pages.table import Table
from brainjepa_server.reporting.words import number_in_words
from brainjepa_server.tasks.report import NO_INTERVALS
from brainjepa_server.tasks.report_file import TaskFile, task_of, task_reports

HEADINGS = ("model", "metric", "value", "people")


def task_sections(folder: Path) -> list[dict[str, Any]]:
    """Title, table and reasons of each task that has a report in a study's folder, by name."""
    return [_section(path, report) for path, report in task_reports(folder).items()]


def _section(path: Path, report: TaskFile | None) -> dict[str, Any]:
    name = task_of(path)
    if report is None:
        return {"name": name, "problem": f"{path.name} beside this report cannot be read."}
    rows = [
        (row.model, metric_label(row.metric, row.unit), number_in_words(row.mean, 3), row.n)
        for row in report.rows
    ]
    told = [
        (asked, site, reason)
        for asked, sites in report.left_out.items()
        for site, reason in sites.items()
    ]
    reasons = Table.of(("asked", "site", "reason"), told, ("text", "text", "long"))
    table = Table.of(HEADINGS, rows, ("text", "text"))
    return {"name": name, "problem": "", "table": table, "reasons": reasons, "note": NO_INTERVALS}
