"""Engine ``flower``: Flower's own simulation on Ray, started with ``flwr run`` as by a user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

APP, HOME = "flower-app", "flower-home"
FINISHED = "finished:completed"

PROJECT = """[project]
name = "brainjepa-study"
version = "0.1.0"
description = "A study of brainjepa-federated"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "brainjepa"

[tool.flwr.app.components]
serverapp = "study_app:server_app"
clientapp = "study_app:client_app"

[tool.flwr.app.config]
"""
MODULE = '''"""What Flower loads: the apps of the installed package."""

from server.app import app as server_app
from simulations.client_app import app as client_app

__all__ = ["client_app", "server_app"]
'''
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def run_with_flower(folder: Path, sites: int, threads: int, run_config: Mapping[str, str]) -> None:
    """Run a study with one virtual node a site; returns when the coordinator is done.

    The app that Flower packs is two lines around the installed package, so nothing of the study's
    folder, and no data, goes into its bundle.

    Raises
    ------
    ValueError
        If Flower's run did not complete.
    """
    app = folder / APP
    app.mkdir(parents=True, exist_ok=True)
    config = "".join(f"{key} = {json.dumps(value)}\n" for key, value in run_config.items())
    (app / "pyproject.toml").write_text(PROJECT + config)
    (app / "study_app.py").write_text(MODULE)
    programs = Path(sys.executable).parent  # flwr starts others of its programs by name
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str((folder / HOME).resolve()),
    }
    federation = f"num-supernodes={sites} client-resources-num-cpus={threads}"
    flwr = [str(programs / "flwr")]
    command = [*flwr, "run", str(app), "local", "--stream", "--federation-config", federation]
    try:
        subprocess.run(command, env=environment, check=False)
        listed = subprocess.run(
            [*flwr, "list", "--format", "json"], env=environment, capture_output=True, text=True
        )
    finally:
        _stop_superlink(environment["FLWR_HOME"])
    # The exit code of `flwr run --stream` is 0 for a failed run too.
    status = _status_of_last_run(listed.stdout)
    if status != FINISHED:
        raise ValueError(
            f"expected Flower's run to be {FINISHED}, found {status}; its output above says why, "
            f"and {HOME} of the run's folder holds its log"
        )


def _status_of_last_run(listing: str) -> str:
    try:
        runs = json.loads(listing)["runs"]
        return str(runs[0]["status"])
    except (ValueError, KeyError, IndexError, TypeError):
        return "no run"


def _stop_superlink(home: str) -> None:
    """End the SuperLink that ``flwr run`` left behind, so that its port is free for the next run.

    It is known by the home folder in its environment; where there is no /proc it lives on.
    """
    wanted = f"FLWR_HOME={home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                if int(process.name) != os.getpid():
                    os.kill(int(process.name), signal.SIGTERM)
        except OSError:
            continue  # another user's, or gone meanwhile
