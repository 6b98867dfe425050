"""The Flower ServerApp of the coordinator: a grid and a folder in, a study run in that folder."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from brainjepa_core.command.command_log import keep_log, logs
from brainjepa_core.command.terminal import console
from brainjepa_core.settings import read_settings
from brainjepa_core.wire.contract import read_contract
from brainjepa_core.wire.messages import CONTRACTS
from brainjepa_server.private_study import study_kind
from brainjepa_server.progress import StudyProgress
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import STUDY_FILE

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run or continue the study whose settings lie in ``study-folder``.

    A simulation says in ``nodes`` how many sites it has, so that nobody is waited for in vain, and
    in ``contracts``, if its study has one, where the contract lies.
    """
    folder = Path(str(context.run_config["study-folder"]))
    settings = read_settings(folder / STUDY_FILE, StudySettings)
    nodes = int(str(context.run_config["nodes"])) if "nodes" in context.run_config else None
    contract = None
    if CONTRACTS in context.run_config:
        path = Path(str(context.run_config[CONTRACTS]))
        contract = read_contract(path.read_text(encoding="utf-8"))
    progress = StudyProgress(console, settings.total_rounds)
    with logs():
        keep_log(folder)
        study_kind(settings)(grid, settings, folder, progress, nodes, contract).run()
