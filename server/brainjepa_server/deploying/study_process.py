"""The process of a study: takes the run that waits at the SuperLink, and runs or continues it.

``python -m brainjepa_server.deploying.study_process DIR PORT NAME``
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from brainjepa_core.command.command_log import keep_log, logs
from brainjepa_core.command.terminal import AGAIN, console, errors_in_one_line
from brainjepa_core.settings import read_settings
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.consortium.proposing import proposed
from brainjepa_server.deploying.running import RunningFolder
from brainjepa_server.deploying.superlink import SuperLink, study_grid
from brainjepa_server.private_study import study_kind
from brainjepa_server.progress import StudyProgress
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import STUDY_FILE

STOPPED = 75  # exit code of what did not fail, and has not ended: to be started again (EX_TEMPFAIL)


def run_study(consortium: ConsortiumFolder, port: int, name: str) -> int:
    """Run a study of the consortium; the exit code."""
    folder, running = consortium.studies / name, RunningFolder(consortium.path)
    settings = read_settings(folder / STUDY_FILE, StudySettings)
    progress = StudyProgress(console, settings.total_rounds)
    contract = proposed(consortium, settings)
    link = SuperLink(port, consortium.loopback_certificate, running.secret.read_bytes())
    with study_grid(link) as grid:
        study = study_kind(settings)(
            grid,
            settings,
            folder,
            progress,
            contract=contract,
            admitted=lambda: link.names(contract.roster),
            stop=running.stop.exists,
        )
        return 0 if study.run() else STOPPED


def main() -> int:
    """Run the study that the command line names; errors are one line each."""
    path, port, name = sys.argv[1:]
    consortium = ConsortiumFolder(Path(path))
    try:
        with logs(), errors_in_one_line(AGAIN):
            keep_log(consortium.studies / name)
            return run_study(consortium, int(port), name)
    except typer.Exit as exit:
        return exit.exit_code


if __name__ == "__main__":
    sys.exit(main())
