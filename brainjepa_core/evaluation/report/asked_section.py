"""What a hospital asks, as a section of the page of an evaluation: a picture above its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainjepa_core.evaluation.asked.yardstick import Asked
from brainjepa_core.evaluation.report.result_figures import curves, metric_label
from brainjepa_core.evaluation.report.result_tables import figure_cell
from brainjepa_core.evaluation.report.result_verdict import number, outcome
from brainjepa_core.evaluation.scores.results import Row
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Row as Line
from brainjepa_core.pages.table import Table


def asked_section(asked: Asked, reference: str | None, subjects: Sequence[str]) -> dict[str, Any]:
    """Title, picture, table and what was done, for the template."""
    columns = {asked.named(condition): condition for condition in asked.conditions}
    rows = [row for row in asked.rows if row.metric in columns]
    label = metric_label(asked.metric)
    picture = curves(rows, columns, label, reference)
    alt = f"{asked.title}: {label} under {', '.join(asked.conditions)}"
    return {
        "title": asked.title,
        "told": asked.told,
        "picture": Picture.of(picture, alt),
        "table": _table(asked, rows, columns, reference, subjects),
    }


def _table(
    asked: Asked,
    rows: Sequence[Row],
    columns: dict[str, str],
    reference: str | None,
    subjects: Sequence[str],
) -> Table:
    """A row a model, a column a condition; what else was asked of a model is below its own row."""
    found = {(row.model, row.metric): row for row in asked.rows}
    better = {(c.model, c.metric) for c in asked.comparisons if outcome(c) == "better"}
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        cells = [figure_cell(found.get((model, m)), (model, m) in better) for m in columns]
        kind = "subject" if model in subjects else ""
        lines.append(Line([model, *cells], "reference" if model == reference else kind))
    others = [row for row in asked.rows if row.metric not in columns]
    for model, what in dict.fromkeys((r.model, r.metric.rpartition(", ")[0]) for r in others):
        values = [found.get((model, f"{what}, {condition}")) for condition in columns.values()]
        shown = ["–" if row is None else number(row.mean, 2) for row in values]
        lines.append(Line([f"{model}: {what}", *shown]))
    heading = metric_label(asked.metric)
    return Table([heading, *columns.values()], lines, ("name",))
