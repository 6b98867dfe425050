"""Engine ``flower``: Flower's own simulation on Ray, started with ``flwr run`` as by a user.

Flower starts Ray on this machine, or works on the cluster that `RAY_ADDRESS` names.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from brainjepa_core.wire.flower_environment import FLOWER_ENVIRONMENT

APP, HOME, LOG = "flower-app", "flower-home", "flower.log"
FINISHED = "finished:completed"
OURS = "BRAINJEPA_FLOWER_HOME"  # marks each process of a run, so that none outlives it
RAY_ADDRESS = "RAY_ADDRESS"  # where Ray is told of a cluster
CONNECT_SECONDS = 10.0
STOP_SECONDS = 15.0  # for processes to end by themselves

# Its SuperLink forgets runs when it ends: studies are continued from their folder, never by Flower.
CONNECTION = """[superlink]
default = "local"

[superlink.local]
address = ":local-in-memory:"
"""

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

from brainjepa_server.app import app as server_app
from brainjepa_simulations.engines.client_app import app as client_app

__all__ = ["client_app", "server_app"]
'''


def require_cluster(address: str) -> None:
    """Refuse an address where no Ray cluster listens.

    Raises
    ------
    ValueError
    """
    host, _, port = address.rpartition(":")
    whole = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    if not host or "/" in host or not whole:
        raise ValueError(
            f"expected --address as HOST:PORT, which `ray start --head` prints, found '{address}'; "
            "correct it, or leave it out for Ray on this machine alone"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"expected a Ray cluster at {address} (--address), found {_in_words(error)}; start one "
            f"(`ray start --head --port={port}` there, `ray start --address={address}` on each "
            "other machine, this one among them), or correct the address"
        ) from error


def _in_words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()  # connection refused, timed out, no such name


def run_with_flower(
    folder: Path,
    sites: int,
    threads: int,
    device: str,
    run_config: Mapping[str, str],
    address: str | None = None,
) -> None:
    """Run a study with one virtual node a site; returns when the coordinator is done.

    The app that Flower packs is two lines around the installed package, so nothing of the study's
    folder, and no data, goes into its bundle. Ports are free ones, so that runs in several folders
    do not meet. What the run prints is in ``FOLDER/flower.log`` too.

    Parameters
    ----------
    folder : Path
        The run's. On a cluster every machine has it, and this package, under the same path.
    sites, threads : int
        Nodes, and the cores that each takes while it answers.
    device : {"cpu", "cuda"}
        With ``cuda`` it takes a GPU, too, which Ray chooses.
    run_config : mapping of str to str
    address : str, optional
        ``HOST:PORT`` of a Ray cluster, of which this machine is one; a Ray of its own by default.

    Raises
    ------
    ValueError
        If Flower's run did not complete, or the device is a certain GPU.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(
            f"expected device cpu or cuda with --engine flower, whose Ray gives each site a GPU, "
            f"found '{device}'; write cuda, and name the GPU with CUDA_VISIBLE_DEVICES"
        )
    app, home = folder / APP, folder / HOME
    config = "".join(f"{key} = {json.dumps(value)}\n" for key, value in run_config.items())
    for path, text in (
        (app / "pyproject.toml", PROJECT + config),
        (app / "study_app.py", MODULE),
        (home / "config.toml", CONNECTION),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    programs = Path(sys.executable).parent  # flwr starts others of its programs by name
    environment = _environment(home, programs, address)
    flwr = str(programs / "flwr")
    federation = f"num-supernodes={sites} client-resources-num-cpus={threads}"
    if device == "cuda":
        federation += " client-resources-num-gpus=1"
    run = [flwr, "run", str(app), "local", "--stream", "--federation-config", federation]
    try:
        _show_and_keep(run, environment, folder / LOG)
        # The exit code of `flwr run --stream` is 0 for a failed run too.
        status = _status([flwr, "list", "local", "--format", "json"], environment)
    finally:
        stop_flower(folder)
    if status != FINISHED:
        raise ValueError(
            f"expected Flower's run to be {FINISHED}, found {status}; {folder / LOG} says why "
            f"(Flower's own log: {home / 'local-superlink' / 'superlink.log'}); mend it and go on "
            "with --resume"
        )


def stop_flower(folder: Path) -> None:
    """End all processes of a run in this folder, of an earlier one that was killed too.

    ``flwr run`` leaves its SuperLink behind, and when it is killed, also the study that runs
    there. They are known by a variable in their environment; where there is no /proc they live on.
    """
    home = folder / HOME
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        until = time.monotonic() + patience
        for process in processes_of(home):
            with suppress(ProcessLookupError):
                os.kill(process, number)
        # Looked for twice: who is born while the list is read is not on it, and may be all that is
        # left when its parent ends.
        while processes_of(home) or processes_of(home):
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        else:
            return


def processes_of(home: Path) -> list[int]:
    """Processes of the run with this home folder."""
    wanted = f"{OURS}={home.resolve()}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return sorted(set(found) - {os.getpid()})


def _environment(home: Path, programs: Path, address: str | None) -> dict[str, str]:
    """What all processes of the run inherit."""
    with socket.socket() as one, socket.socket() as other:  # both open, so that they differ
        ports = []
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
            ports.append(str(listener.getsockname()[1]))
    inherited = {k: v for k, v in os.environ.items() if k != RAY_ADDRESS}  # no cluster but ours
    return {
        **inherited,
        **({RAY_ADDRESS: address} if address else {}),
        **FLOWER_ENVIRONMENT,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(home.resolve()),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": ports[0],
        "FLWR_LOCAL_CONTROL_API_PORT": ports[1],
        OURS: str(home.resolve()),
    }


def _show_and_keep(command: list[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command; its output goes to ours and to a file."""
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            for stream in (sys.stdout, file):
                stream.write(line)
                stream.flush()


def _status(command: list[str], environment: Mapping[str, str]) -> str:
    """Status of the latest run that ``flwr list --format json`` knows; it lists that one first."""
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    try:
        return str(json.loads(listed.stdout)["runs"][0]["status"])
    except (ValueError, KeyError, IndexError, TypeError):
        return "no run"
