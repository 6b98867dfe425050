"""A task's report on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_server.tasks.report import NO_INTERVALS, TaskReport


def show_report(console: Console, report: TaskReport) -> None:
    """Print a report's rows, what they lack, and who is left out of what and why."""
    table = Table(title=f"{escape(report.task)}, nobody's data moved")
    for heading in ("model", "metric", "value", "people"):
        table.add_column(heading, justify="left" if heading in ("model", "metric") else "right")
    for row in report.rows():
        label = metric_label(str(row["metric"]), str(row["unit"]))
        value = "-" if row["mean"] is None else f"{row['mean']:.3f}"
        table.add_row(escape(str(row["model"])), label, value, str(row["n"]))
    console.print(table)
    console.print(NO_INTERVALS, soft_wrap=True)
    for asked, sites in report.left_out.items():
        for site, reason in sites.items():
            console.print(f"{escape(asked)}: {escape(site)} left out: {escape(reason)}")
