"""Two ways to run a study on this machine: in one process, or as Flower's Ray simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml

from brainjepa_core.files import atomic_path
from brainjepa_server.study_folder import STUDY_FILE
from brainjepa_simulations.engines.client_app import FAULTS
from brainjepa_simulations.engines.flower_engine import run_with_flower, stop_flower
from brainjepa_simulations.engines.inprocess import run_in_process
from brainjepa_simulations.engines.virtual_sites import SITES
from brainjepa_simulations.scenario import Scenario

Engine = Literal["inprocess", "flower"]


def run_study(engine: Engine, scenario: Scenario, folder: Path, sites: int) -> None:
    """Run the scenario's study in FOLDER, where its sites are; continues what is there.

    Raises
    ------
    ValueError
        If the study cannot go on; with ``flower``, saying where its log lies.
    """
    stop_flower(folder)  # a coordinator that outlived its command would write to this folder too
    for name, settings in ((STUDY_FILE, scenario.study), (FAULTS, scenario.faults)):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    run_config = {
        "study-folder": str(folder.resolve()),
        "virtual-sites": str((folder / SITES).resolve()),
    }
    if engine == "flower":
        run_with_flower(folder, sites, scenario.threads, run_config)
    else:
        from brainjepa_server.app import app as server_app
        from brainjepa_simulations.engines.client_app import app as client_app

        run_in_process(server_app, client_app, sites, run_config)
