"""All that a person reads of a study, drawn anew from its record: page, cards, runs in MLflow."""

from __future__ import annotations

from pathlib import Path

from brainjepa_core.atlas import Atlas
from brainjepa_server.record.history import read_history
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.reporting.report import write_report
from brainjepa_server.reporting.study_card import write_cards
from brainjepa_server.tasks.page import write_task_page
from brainjepa_server.tasks.report_file import task_reports


def write_pages(folder: Path, atlas: Atlas | None = None) -> Path:
    """Write report, tasks' pages and models' cards; pages go to the study's run in MLflow, too.

    Parameters and errors as of `write_report`.

    Returns
    -------
    Path
        The report.
    """
    report = write_report(folder, atlas)
    for path, found in task_reports(folder).items():
        if found is not None:  # else the report says that it cannot be read
            write_task_page(path)
    write_cards(folder)
    tracker = StudyTracker(folder)
    tracker.log_baselines(read_history(folder))
    tracker.add_to_run(sorted(folder.glob("*.html")))
    return report
