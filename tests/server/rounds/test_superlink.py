"""A real SuperLink with five SuperNodes, of which the first in the alphabet says nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brainjepa_core.wire.flower_environment import FLOWER_ENVIRONMENT
from brainjepa_core.wire.messages import WIRE_VERSION
from brainjepa_server.rounds.sites import LATE
from brainjepa_simulations.engines.flower_engine import (
    HOME,
    OURS,
    processes_of,
    stop_flower,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SITES = ("a", "b", "c", "d", "e")
PATIENCE = 300.0
CONNECTION = """[superlink]
default = "local"

[superlink.local]
address = "127.0.0.1:{port}"
insecure = true
"""
PROJECT = """[project]
name = "five-sites"
version = "0.1.0"
description = "Five sites, one of them silent"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "brainjepa"

[tool.flwr.app.components]
serverapp = "five:server_app"
clientapp = "five:client_app"

[tool.flwr.app.config]
result = "{result}"
"""
# Its sites load no torch, which each answer would load anew.
APP = """
import json
import threading
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from brainjepa_core.wire.packing import PACKED, pack_arrays

client_app = ClientApp()
server_app = ServerApp()
NEVER = threading.Event()


def reply(message, refusal="", **facts):
    arrays = ArrayRecord({PACKED: Array(pack_arrays({}))})
    content = {"reply": ConfigRecord({"refusal": refusal, **facts}), "arrays": arrays}
    return Message(RecordDict(content), reply_to=message)


@client_app.query("describe")
def describe(message, context):
    name = context.node_config["site"]
    return reply(message, wire_version=WIRE_VERSION, site=name, atlas="two", rois="left\\nright")


@client_app.train()
def train(message, context):
    if context.node_config["site"] == "a":
        NEVER.wait()
    return reply(message, loss=0.5)


@client_app.evaluate()
def evaluate(message, context):
    name = context.node_config["site"]
    if name == "b":
        raise ValueError("canary")
    return reply(message, "this site's policy says no" if name == "c" else "")


@server_app.main()
def main(grid, context):
    from brainjepa_core.pretraining.settings import PretrainingSettings
    from brainjepa_core.wire.messages import EVALUATE, TRAIN
    from brainjepa_server.rounds.joining import Door, gather
    from brainjepa_server.rounds.sites import Sites
    from brainjepa_server.settings import StudySettings

    names = ["a", "b", "c", "d", "e"]
    rounds = {"joining_time": 240, "quorum": 5}
    settings = StudySettings(
        name="five", pretraining=PretrainingSettings(), sites=names, rounds=rounds
    )
    members = gather(Door(grid, settings))
    sites, told = Sites(grid, members.nodes), {"members": sorted(members.nodes)}
    answers = sites.ask(TRAIN, settings.assignment(), {}, names, 60)
    told["train"] = {a.site: [a.reply.metrics, a.reply.refusal] for a in answers}
    answers = sites.ask(EVALUATE, settings.assignment(), {}, names[1:], 60)
    told["evaluate"] = {a.site: a.reply.refusal for a in answers}
    result = Path(context.run_config["result"])
    result.with_suffix(".tmp").write_text(json.dumps(told))
    result.with_suffix(".tmp").rename(result)
"""


def free_ports(count: int) -> list[int]:
    """Ports of this machine's own loopback that nobody listens on, all of them different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for listener in held:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Consortium:
    """Flower's own programs, as hospitals start them, in one folder on one machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / HOME
        self.programs = Path(sys.executable).parent
        self.home.mkdir(parents=True)
        self.environment = {
            **os.environ,
            **FLOWER_ENVIRONMENT,
            "PATH": f"{self.programs}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(self.home.resolve()),
            OURS: str(self.home.resolve()),
        }

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(self.programs / program), *arguments]
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def wait(self, condition: Callable[[], object], *alive: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert all(process.poll() is None for process in alive), self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.2)

    def said(self) -> str:
        return (self.folder / "output").read_text(errors="replace")[-5000:]


@pytest.fixture
def consortium(tmp_path) -> Iterator[Consortium]:
    yield Consortium(tmp_path)
    stop_flower(tmp_path)
    assert not processes_of(tmp_path / HOME)


def test_a_silent_site_first_in_the_alphabet_takes_nobody_with_it(consortium):
    link, *nodes = free_ports(1 + len(SITES))
    result, app = consortium.folder / "result.json", consortium.folder / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(PROJECT.format(result=result))
    (app / "five.py").write_text(APP.replace("WIRE_VERSION", str(WIRE_VERSION)))
    (consortium.home / "config.toml").write_text(CONNECTION.format(port=link))
    superlink = consortium.start("flower-superlink", "--insecure", "--port", str(link))
    consortium.wait(lambda: listens(link), superlink)
    supernodes = [
        consortium.start(
            "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}",
            "--port", str(port), "--node-config", f'site="{name}"',
        )
        for name, port in zip(SITES, nodes, strict=True)
    ]  # fmt: skip
    flwr_run = consortium.start("flwr", "run", str(app), "local")
    consortium.wait(lambda: flwr_run.poll() is not None, superlink)
    assert flwr_run.returncode == 0, consortium.said()
    consortium.wait(result.exists, superlink, *supernodes)
    told = json.loads(result.read_text())
    assert told["members"] == list(SITES)
    assert told["train"] == {"a": [{}, LATE]} | {name: [{"loss": 0.5}, ""] for name in SITES[1:]}
    assert told["evaluate"] == {
        "b": "the site's app failed (Flower error 2)",
        "c": "this site's policy says no",
        "d": "",
        "e": "",
    }
