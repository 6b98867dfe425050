"""A task over the sites of a finished simulation, asked through messages: nobody's data move."""

from __future__ import annotations

from pathlib import Path

from brainjepa_client.answering.app import app as client_app
from brainjepa_core.settings import read_settings
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import STUDY_FILE
from brainjepa_server.tasks.evaluation import evaluate_finished
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask
from brainjepa_simulations.engines.inprocess import InProcessGrid
from brainjepa_simulations.engines.virtual_sites import SITES


def evaluate_sites(folder: Path, task: StudyTask, model: str = "final") -> TaskReport:
    """Ask the sites of a simulated study about a task, with the study's model.

    Parameters
    ----------
    folder : Path
        Of the study: ``study.yaml``, ``sites/`` and models.
    task : StudyTask
    model : {"final", "best"}

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
    return evaluate_finished(grid, settings, folder, task, model, sites)
