"""The walk of docs/deployment.md on one machine: a coordinator, its sites, a study by contract.

Each step does what the command does that is said beside it, with the same functions; server and
sites are processes of their own, started by the commands themselves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.deciding import approve
from brainjepa_client.approving.membership import KEY
from brainjepa_client.deploying.joining import join
from brainjepa_client.settings import SiteSettings
from brainjepa_core.files import atomic_path
from brainjepa_core.settings import read_settings
from brainjepa_server.consortium.admission import admit
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder, set_up
from brainjepa_server.consortium.proposing import CONTRACTS, propose
from brainjepa_server.deploying.processes import end_processes, start_process
from brainjepa_server.study_folder import FINAL, SUMS
from brainjepa_simulations.engines.engine import run_study
from brainjepa_simulations.engines.virtual_consortium import CONTRACT
from brainjepa_simulations.engines.virtual_sites import SITES, STORES, make_sites
from brainjepa_simulations.scenario import Scenario

HERE = "127.0.0.1"
COORDINATOR, LOGS, IN_PROCESS, STUDY = "consortium", "logs", "in-one-process", "study.yaml"
WEIGHTS = "model.safetensors"
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

Say = Callable[[str], object]


def set_up_consortium(folder: Path, scenario: Scenario, say: Say) -> list[Path]:
    """Make everything up to the sites' approval; the YAML of each site.

    Parameters
    ----------
    folder : Path
        New.
    scenario : Scenario
    say : callable
        Told the command of each step.
    """
    place = folder / COORDINATOR
    (port,) = _free_ports(1)
    say(f"brainjepa server init {place} --host {HERE} --port {port}")
    name = scenario.study.name
    kit = set_up(place, (HERE,), name=name, port=port, now=datetime.now(UTC)).kit
    consortium = ConsortiumFolder.open(place)
    make_sites(scenario, folder)
    yamls = sorted((folder / SITES).glob("*.yaml"))
    for path in yamls:
        site = read_settings(path, SiteSettings)
        say(f"brainjepa site join {consortium.kit} {path}")
        request = join(kit, site.name, site.state, folder / SITES).path
        say(f"brainjepa server admit {request} --dir {place}")
        admit(consortium, request)
    with atomic_path(folder / STUDY) as temporary:
        temporary.write_text(yaml.safe_dump(scenario.study.model_dump(mode="json")))
    say(f"brainjepa server propose {folder / STUDY} --dir {place}")
    contract, file = propose(consortium, scenario.study)
    for path in yamls:
        site = read_settings(path, SiteSettings)
        say(f"brainjepa site review {path} --contract {file}")
        say(f"brainjepa site approve {path} {contract.hash[:12]}")
        approve(site, Contracts(site.state).propose_file(file))
    return yamls


def run_deployed(folder: Path, sites: Sequence[Path], say: Say) -> Path:
    """Start the sites and the server, wait for the study's end, and stop all; the model's folder.

    Raises
    ------
    ValueError
        If the server ends otherwise; says where its log lies.
    """
    (folder / LOGS).mkdir(exist_ok=True)
    (port,) = _free_ports(1)
    place = folder / COORDINATOR
    start = ("server", "start", place, folder / STUDY, "--superlink-port", port)
    running = []
    try:
        for path in sites:
            words = ("site", "start", path)
            say(_line(words))
            log = folder / LOGS / f"{path.stem}.log"
            running.append(start_process(_command(words), _environment(), log))
        say(_line(start))
        running.append(start_process(_command(start), _environment(), None))
        code = running[-1].wait()
    finally:
        end_processes(running)
    name = yaml.safe_load((folder / STUDY).read_text())["name"]
    final: Path = ConsortiumFolder(place).studies / str(name) / FINAL
    if code or not (final / WEIGHTS).is_file():
        raise ValueError(
            f"expected the study to end with its model, found that the server ended with exit "
            f"code {code}; see the logs in '{folder / LOGS}' and '{place}'"
        )
    return final


def run_in_one_process(folder: Path, scenario: Scenario) -> Path:
    """The same study without a deployment; the model's folder."""
    other = folder / IN_PROCESS
    other.mkdir()
    (other / STORES).symlink_to(folder / STORES)
    sites = len(make_sites(scenario, other))
    if scenario.study.sums:
        _carry_keys(folder, other, scenario.study.name)
    run_study("inprocess", scenario, other, sites)
    return other / FINAL


def _carry_keys(folder: Path, other: Path, study: str) -> None:
    """Give the sites of one process the keys, secrets and contract of the deployed ones.

    Masks and random roundings are functions of these: with others the last bits would differ.
    """
    for path in sorted((folder / SITES).glob("*.yaml")):
        state = read_settings(path, SiteSettings).state
        own = read_settings(other / SITES / path.name, SiteSettings).state
        for name in (Path(KEY), Path(study) / SUMS / "secret"):
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(state / name, own / name)
    (contract,) = (folder / COORDINATOR / CONTRACTS).glob("*.json")
    shutil.copy(contract, other / CONTRACT)


def digest_of_weights(final: Path) -> str:
    """SHA-256 (hex) of a model's weights."""
    return hashlib.sha256((final / WEIGHTS).read_bytes()).hexdigest()


def _line(words: Sequence[object]) -> str:
    return " ".join(["brainjepa", *map(str, words)])


def _command(words: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "brainjepa", *map(str, words)]


def _environment() -> dict[str, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**THREADS, "PYTHONPATH": path}


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for listener in held:
        listener.bind((HERE, 0))
    ports = [int(listener.getsockname()[1]) for listener in held]
    for listener in held:
        listener.close()
    return ports
