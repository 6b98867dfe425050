"""A whole consortium on this machine: a server and three sites, all by the commands people type."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml
from child_process import environment
from made_consortium import consortium
from small_consortium import plan
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.files import atomic_path
from brainjepa_simulations.engines.virtual_sites import make_sites
from brainjepa_simulations.scenario import Scenario

ROOT = Path(__file__).parents[3]
PATIENCE = 600.0
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
OURS = "BRAINJEPA_DEPLOYED"  # marks each process of a test, so that none can hide
MEDDLED, MEDDLING = "BRAINJEPA_MEDDLING", Path(__file__).parent / "meddling"


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for listener in held:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def said(*words: object) -> tuple[int, str]:
    """Run a command in this process: exit code and output."""
    result = CliRunner(env={"COLUMNS": "999"}).invoke(command(), [str(word) for word in words])
    return result.exit_code, result.output


def three_sites(**rounds: object) -> Scenario:
    """Two rounds that need all three sites, if not told otherwise."""
    all_of_them = {"quorum": 3, "joining_time": 300, "deadline": 300}
    planned = plan(3, steps=3, rounds={**all_of_them, **rounds})
    planned["study"]["sites"] = ["site-01", "site-02", "site-03"]
    return Scenario.model_validate(planned)


class Deployed:
    """Folder ``c`` of the coordinator, ``sites/NAME.yaml`` of each site, its key admitted."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.folder, self.consortium = folder, folder / "c"
        self.meddling.mkdir()
        self.port, self.link = free_ports(2)
        consortium(self.consortium, "127.0.0.1")
        init = said("server", "init", self.consortium, "--port", self.port)
        assert init[0] == 0, init
        make_sites(scenario, folder)
        self.sites = sorted(path.stem for path in (folder / "sites").glob("*.yaml"))
        (folder / "study.yaml").write_text(
            yaml.safe_dump(scenario.study.model_dump(mode="json"), sort_keys=False)
        )
        for name in self.sites:
            self.join(name)
        self.agree()

    @property
    def meddling(self) -> Path:
        """What is to happen at sites lies here; where the folder is not, nothing is."""
        return self.folder / "meddling"

    @property
    def study(self) -> Path:
        """The folder of the study."""
        return self.consortium / "studies" / "small"

    def yaml(self, name: str) -> Path:
        return self.folder / "sites" / f"{name}.yaml"

    def join(self, name: str) -> None:
        kit = self.consortium / "kit"
        fingerprint = read_kit(kit).fingerprint
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            joined = said("site", "join", kit, self.yaml(name), "--fingerprint", fingerprint)
        finally:
            os.chdir(here)
        assert joined[0] == 0, joined
        request = self.folder / f"{name}.request"
        admitted = said("server", "admit", request, "--dir", self.consortium)
        assert admitted[0] == 0, admitted

    def agree(self) -> None:
        """The study's contract, reviewed and approved at each site."""
        proposed = said("server", "propose", self.folder / "study.yaml", "--dir", self.consortium)
        assert proposed[0] == 0, proposed
        contracts = (self.consortium / "contracts").glob("*.json")
        file = max(contracts, key=lambda path: path.stat().st_mtime_ns)
        for name in self.sites:
            reviewed = said("site", "review", self.yaml(name), "--contract", file)
            assert reviewed[0] == 0 and "this site has not decided yet" in reviewed[1], reviewed
            approved = said("site", "approve", self.yaml(name), file.stem)
            assert approved[0] == 0, approved

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """Start a command of brainjepa as a process."""
        line = [sys.executable, "-m", "brainjepa", *map(str, words)]
        around = environment(**THREADS, **{OURS: str(self.folder), MEDDLED: str(self.meddling)})
        around["PYTHONPATH"] = f"{MEDDLING}{os.pathsep}{around['PYTHONPATH']}"
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                line, cwd=ROOT, env=around, stdout=output, stderr=subprocess.STDOUT
            )

    def meddle(self, name: str, what: str, *lines: str) -> None:
        """What is to happen at a site, as `meddling/sitecustomize.py` reads it."""
        with atomic_path(self.meddling / f"{name}.{what}") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))

    def hold(self, name: str, what: str) -> None:
        """Let a site wait where it is asked next, whatever it met before."""
        (self.meddling / f"{name}.{what}.met").unlink(missing_ok=True)
        self.meddle(name, what, "hold")

    def let_go(self, name: str, what: str) -> None:
        (self.meddling / f"{name}.{what}").unlink(missing_ok=True)

    def met(self, name: str, what: str, mark: str = "met") -> bool:
        """Whether a site has come to it."""
        return (self.meddling / f"{name}.{what}.{mark}").exists()

    def steps(self, name: str) -> list[int]:
        """Optimiser steps that began at a site, as they came."""
        path = self.meddling / f"{name}.steps"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def serve(self, *words: object) -> subprocess.Popen[bytes]:
        return self.start("server", "start", self.consortium, *words, "--superlink-port", self.link)

    def start_sites(self, *names: str) -> list[subprocess.Popen[bytes]]:
        return [self.start("site", "start", self.yaml(name)) for name in names or self.sites]

    def output(self) -> str:
        texts = [(self.folder / "output").read_text(errors="replace")[-6000:]]
        for path in sorted((self.consortium / "running").glob("*.log")):
            texts.append(f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(texts)

    def wait(self, condition: Callable[[], object], *alive: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            ended = [process.args for process in alive if process.poll() is not None]
            assert not ended, f"{ended} ended\n{self.output()}"
            assert time.monotonic() < until, self.output()
            time.sleep(0.1)

    def ends(self, process: subprocess.Popen[bytes], *alive: subprocess.Popen[bytes]) -> int:
        self.wait(lambda: process.poll() is not None, *alive)
        return process.returncode

    def status(self) -> dict:
        code, text = said("server", "status", self.consortium, "--json")
        assert code == 0, text
        return json.loads(text)

    def part(self, name: str, part: str) -> str:
        """The state of one program of a site; empty where there is none."""
        told = json.loads(said("site", "status", self.yaml(name), "--json")[1])
        return told.get("parts", {}).get(part, {}).get("state", "")

    def connected(self) -> set[str]:
        return {name for name, is_there in self.status()["sites"].items() if is_there}

    def processes(self, *words: str) -> list[int]:
        """Processes of this deployment whose command line holds all these words."""
        found, mark = [], f"{OURS}={self.folder}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # another user's, or gone meanwhile
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                ours = mark in (process / "environ").read_bytes().split(b"\0")
                if ours and line and all(word in line for word in words):  # a zombie has no line
                    found.append(int(process.name))
        return found

    def kill(self, *words: str) -> None:
        (process,) = self.processes(*words)
        os.kill(process, signal.SIGKILL)

    def clear(self) -> None:
        """End all that a test left."""
        for process in self.processes():
            os.kill(process, signal.SIGTERM)
        until = time.monotonic() + 20
        while self.processes() and time.monotonic() < until:
            time.sleep(0.1)
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
