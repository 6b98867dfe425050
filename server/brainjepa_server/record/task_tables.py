"""The tasks of a study on its page: what each one's report says, and who is left out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_core.pages.table import Table
from brainjepa_server.tasks.report import NO_INTERVALS

HEADINGS = ("model", "metric", "value", "people")


def task_sections(folder: Path) -> list[dict[str, Any]]:
    """Title, table and reasons of each task that has a report in a study's folder, by name."""
    return [_section(path) for path in sorted(folder.glob("task-*.json"))]


def _section(path: Path) -> dict[str, Any]:
    name = path.stem.removeprefix("task-")
    try:
        report = json.loads(path.read_text("utf-8"))
        rows = [
            (
                row["model"],
                metric_label(row["metric"], row["unit"]),
                "–" if row["mean"] is None else f"{row['mean']:.3f}",
                row["n"],
            )
            for row in report["rows"]
        ]
        reasons = Table.of(("asked", "site", "reason"), _reasons(report), ("text", "text", "long"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {"name": name, "problem": f"{path.name} beside this report cannot be read."}
    table = Table.of(HEADINGS, rows, ("text", "text"))
    return {"name": name, "problem": "", "table": table, "reasons": reasons, "note": NO_INTERVALS}


def _reasons(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for asked, sites in report["left_out"].items():
        yield from ((asked, site, reason) for site, reason in sites.items())
