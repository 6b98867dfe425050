"""The tasks of a study, asked of its final model once that is written; a report each.

Whatever becomes of a task, the model is finished. One that was interrupted is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from brainjepa_core.arrays import Float32
from brainjepa_core.problems import plainly
from brainjepa_server.combining.coskewness import directions_of
from brainjepa_server.rounds.round import Weights
from brainjepa_server.rounds.sites import Sites
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import FINAL, task_report
from brainjepa_server.tasks.evaluation import evaluate_task
from brainjepa_server.tasks.page import write_task_page
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.report_file import is_made_from, report_origin, write_task_report


def ask_tasks(
    sites: Sites,
    settings: StudySettings,
    folder: Path,
    weights: Weights,
    basis: Float32,
    stop: Callable[[], bool],
    told: Callable[[TaskReport], None],
) -> bool:
    """Ask the tasks that have no report yet; False if it was asked to stop before the last.

    Parameters
    ----------
    sites : Sites
    settings : StudySettings
    folder : Path
        Of the study, with its final model.
    weights : dict of str to ndarray of float32
        Of that model.
    basis : ndarray of float32 [R, m]
    stop : callable
        Asked before each task.
    told : callable
        Called with each report, which is on the disk by then.

    Raises
    ------
    ValueError
        After the others, if one of them could not be asked to its end, or has no page.
    """
    failed: dict[str, str] = {}
    undrawn: dict[str, str] = {}
    for task in settings.tasks:
        name = task.task.name
        path, origin = task_report(folder, name), report_origin(folder, task, FINAL)
        if not is_made_from(path, origin):
            if stop():
                return False
            try:
                directions = directions_of(folder) if settings.coskewness else None
                report = evaluate_task(sites, settings, weights, basis, task, directions)
                write_task_report(report, path, origin)
            except (ValueError, OSError) as error:
                failed[name] = plainly(error, str(error))
                continue
            told(report)
        try:
            write_task_page(path)
        except (ValueError, OSError) as error:
            undrawn[name] = plainly(error, str(error))
    if failed:
        raise ValueError(
            f"expected the study's tasks to be asked of its finished model, found {_all(failed)}; "
            "the model is written: mend that and start or resume the study, which asks them again"
        )
    if undrawn:
        raise ValueError(
            f"expected the tasks' pages to be drawn, found {_all(undrawn)}; model and answers are "
            "written: mend that, and `brainjepa server report` draws them"
        )
    return True


def _all(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"'{name}': {reason}" for name, reason in reasons.items())
