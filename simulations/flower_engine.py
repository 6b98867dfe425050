"""Engine ``flower``: Flower's own simulation (Ray), started as a user would, with ``flwr run``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


APP, HOME = "flower-app", "flower-home"
FINISHED = "finished:completed"

PROJECT = """[project]
name = "brainjepa-study"
version = "0.1.0"
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
    environment = {**os.environ, **ENVIRONMENT, "FLWR_HOME": str((folder / HOME).resolve())}
    federation = f"num-supernodes={sites} client-resources-num-cpus={threads}"
    flwr = [str(Path(sys.executable).with_name("flwr"))]
    command = [*flwr, "run", str(app), "local", "--stream", "--federation-config", federation]
    subprocess.run(command, env=environment, check=False)
    listed = subprocess.run(
        [*flwr, "list", "--format", "json"], env=environment, capture_output=True, text=True
    )
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
