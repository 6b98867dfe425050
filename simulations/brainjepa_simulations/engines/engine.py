"""Two ways to run a study on this machine: in one process, or as Flower's Ray simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml

from brainjepa_core.extras import require
from brainjepa_core.files import atomic_path
from brainjepa_core.origin import claim_folder
from brainjepa_core.settings import flatten
from brainjepa_core.wire.messages import CONTRACTS
from brainjepa_server.record.history import SUMMARY
from brainjepa_server.rounds.checkpoint import FREE
from brainjepa_server.study_folder import STUDY_FILE
from brainjepa_simulations.engines.client_app import FAULTS
from brainjepa_simulations.engines.flower_engine import run_with_flower, stop_flower
from brainjepa_simulations.engines.inprocess import run_in_process
from brainjepa_simulations.engines.virtual_sites import SITES, STORES
from brainjepa_simulations.scenario import Scenario

Engine = Literal["inprocess", "flower"]


def claim_run(folder: Path, scenario: Scenario) -> None:
    """Make FOLDER that of a scenario's run, or refuse; where its data lie may change.

    Raises
    ------
    ValueError
        Naming the settings that differ from those that the folder was made with.
    """
    told = dict(flatten(scenario.model_dump(mode="json", exclude={"data"})))
    free = {f"study.{name}" for name in FREE}
    decisive = {name: value for name, value in told.items() if name not in free}
    claim_folder(folder, decisive, (SITES, STORES, SUMMARY))


def run_study(
    engine: Engine, scenario: Scenario, folder: Path, sites: int, address: str | None = None
) -> None:
    """Run the scenario's study in FOLDER, where its sites are; continues what is there.

    With ``flower`` and an `address` sites answer on that Ray cluster.

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
        "nodes": str(sites),
    }
    if scenario.study.sums:
        require("cryptography")
        from brainjepa_simulations.engines.virtual_consortium import agree

        run_config[CONTRACTS] = str(agree(folder, scenario.study).resolve())
    if engine == "flower":
        run_with_flower(folder, sites, scenario.threads, scenario.device, run_config, address)
    else:
        from brainjepa_server.app import app as server_app
        from brainjepa_simulations.engines.client_app import app as client_app

        run_in_process(server_app, client_app, sites, run_config)
