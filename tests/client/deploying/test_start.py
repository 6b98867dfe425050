"""Two hospitals with Flower's own programs around them: started, asked, killed, stopped."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import flwr
import pytest
from child_process import environment
from flwr.cli.build import build_fab_from_disk
from made_consortium import NOW
from running_sites import contract_of, wait_for, write_site
from small_sites import make_study
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_client.approving.membership import KEY
from brainjepa_client.computing.stopping import STOPPED
from brainjepa_client.consent.audit_log import audit_log
from brainjepa_client.deploying.preflight import preflight
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.settings import read_settings
from brainjepa_core.version import VERSION
from brainjepa_core.wire.flower_environment import FLOWER_ENVIRONMENT
from brainjepa_core.wire.messages import DESCRIBE, TRAIN
from brainjepa_core.wire.packing import pack_arrays
from brainjepa_server.consortium.consortium_folder import set_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE = 200.0
PROJECT = """[project]
name = "elsewhere"
version = "0.1.0"
description = "Asks two sites"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "elsewhere"

[tool.flwr.app.components]
serverapp = "elsewhere:server_app"
clientapp = "elsewhere:client_app"

[tool.flwr.app.config]
folder = "{folder}"
"""
# Whoever unpacks and runs it makes the file `opened`.
APP = """
import json, time
from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client_app = ClientApp()
server_app = ServerApp()


@client_app.query("describe")
def describe(message, context):
    Path(FOLDER, "opened").touch()


@server_app.main()
def main(grid, context):
    import numpy as np

    folder = Path(FOLDER)
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.5)

    def ask(kind):
        content = {
            "assignment": ConfigRecord({"json": (folder / f"{kind}.json").read_text()}),
            "arrays": ArrayRecord(
                {"packed": Array(np.frombuffer((folder / f"{kind}.bin").read_bytes(), np.uint8))}
            ),
        }
        asked = "query.describe" if kind == "describe" else kind
        messages = [Message(RecordDict(content), node, asked) for node in nodes]
        told = []
        for reply in grid.send_and_receive(messages, timeout=400):
            if reply.has_error():
                told.append(["error", reply.error.code, reply.error.reason])
            else:
                told.append(["reply", *map(dict(reply.content["reply"]).get, ("site", "refusal"))])
        (folder / "told.tmp").write_text(json.dumps(sorted(told)))
        (folder / "told.tmp").rename(folder / f"{kind}.told")

    ask("describe")
    ask("train")
"""
# A site that takes the test's bundle for the envelope, to see what the others are spared.
TRUSTING = """
import sys
from pathlib import Path
from brainjepa_client.deploying import running
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings

made = running._parts

def trusting(*arguments):
    parts = made(*arguments)
    path, port = parts[1]._command[-2:]
    parts[1]._command = [sys.executable, "-c", "from pathlib import Path; from "
        "brainjepa_client.deploying.worker import main; "
        f"main(Path({path!r}), {port}, '" + sys.argv[2] + "')"]
    return parts

running._parts = trusting
running.run(Path(sys.argv[1]), read_settings(sys.argv[1], SiteSettings), print)
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def brainjepa(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(command(), [str(word) for word in words])
    return result.exit_code, result.output


def processes(folder: Path) -> list[int]:
    """Those whose Flower folder lies in a folder; all that a test has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            if any(one.startswith(f"FLWR_HOME={folder}".encode()) for one in variables):
                found.append(int(process.name))
    return found


class Deployment:
    """A SuperLink with TLS and the keys of two sites, on loopback."""

    def __init__(self, folder: Path, stores: list[Path]) -> None:
        self.folder, self.port = folder, free_port()
        self.programs = Path(flwr.__file__).parents[4] / "bin"
        self.variables = environment(**FLOWER_ENVIRONMENT, FLWR_HOME=str(folder / "flower"))
        self.variables["PATH"] = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        self.output = folder / "output"
        set_up(folder / "c", ["127.0.0.1"], name="Two", port=self.port, now=NOW)
        told = read_kit(folder / "c" / "kit").fingerprint
        steps = {"min_subjects": 4, "min_people_in_sum": 1, "max_steps_per_round": 10**6}
        self.sites = {}
        for name, store in zip(("Lyon", "Paris"), stores, strict=False):
            self.sites[name] = write_site(folder / name, store, name, policy=steps)
            code, shown = brainjepa(
                "site", "join", folder / "c" / "kit", self.sites[name], "--fingerprint", told
            )
            assert code == 0, shown
        pki = folder / "c" / "pki"
        (folder / "flower").mkdir()
        (folder / "flower" / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = '
            f'"127.0.0.1:{self.port}"\nroot-certificates = "{pki / "ca.crt"}"\n'
        )
        self.superlink = self.flower(
            "flower-superlink", "--ssl-ca-certfile", pki / "ca.crt", "--ssl-certfile",
            pki / "server.crt", "--ssl-keyfile", pki / "server.key", "--enable-supernode-auth",
            "--host", "127.0.0.1", "--port", self.port,
        )  # fmt: skip
        wait_for(lambda: listens(self.port), self.said, PATIENCE)

    def flower(self, program: str, *words: object) -> subprocess.Popen:
        return self.begin([str(self.programs / program), *map(str, words)])

    def begin(self, line: list[str]) -> subprocess.Popen:
        with self.output.open("ab") as output:
            return subprocess.Popen(line, env=self.variables, stdout=output, stderr=output)

    def admit(self, name: str) -> None:
        key = self.sites[name].parent / "state" / KEY
        public = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(key)], capture_output=True, check=True
        ).stdout
        (self.folder / f"{name}.pub").write_bytes(public)
        register = ("supernode", "register", self.folder / f"{name}.pub", "here")
        assert self.flower("flwr", *register).wait(PATIENCE) == 0, self.said()

    def start(self, name: str) -> subprocess.Popen:
        program = "from brainjepa import main; main()"
        return self.begin([sys.executable, "-c", program, "site", "start", str(self.sites[name])])

    def status(self, name: str) -> dict:
        return json.loads(brainjepa("site", "status", self.sites[name], "--json")[1])

    def state(self, name: str, part: str) -> str:
        return self.status(name).get("parts", {}).get(part, {}).get("state", "")

    def until(self, name: str, part: str, state: str) -> None:
        wait_for(lambda: state in self.state(name, part), self.said, PATIENCE)

    def is_up(self, name: str) -> None:
        self.until(name, "supernode", "connected to the coordinator")
        self.until(name, "worker", "ready")

    def failing(self, name: str) -> list[str]:
        found = preflight(read_settings(self.sites[name], SiteSettings))
        return [row.check for row in found if row.mend]

    def ask(self, app: Path) -> None:
        """Run the app from elsewhere, and wait until Paris trains for it."""
        worker = self.sites["Paris"].parent / "state" / "site.run" / "worker.log"
        before = worker.read_text().count("received 'train'")
        for path in (self.folder / "describe.told", self.folder / "train.told"):
            path.unlink(missing_ok=True)
        assert self.flower("flwr", "run", app, "here").wait(PATIENCE) == 0, self.said()
        wait_for((self.folder / "describe.told").exists, self.said, PATIENCE)
        wait_for(lambda: worker.read_text().count("received 'train'") > before, self.said, PATIENCE)
        self.until("Paris", "worker", "answering")

    def told(self, kind: str) -> list:
        wait_for((self.folder / f"{kind}.told").exists, self.said, PATIENCE)
        return json.loads((self.folder / f"{kind}.told").read_text())

    def events(self, name: str) -> list[dict]:
        return list(audit_log(self.sites[name].parent / "state").lines())

    def said(self) -> str:
        logs = [self.output, *self.folder.glob("*/state/site.run/*.log")]
        return "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)

    def end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in processes(self.folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(AssertionError):
                wait_for(lambda: not processes(self.folder), patience=20)


@pytest.fixture
def deployment(tmp_path, stores, monkeypatch) -> Iterator[Deployment]:
    monkeypatch.chdir(tmp_path)  # where requests are written
    made = Deployment(tmp_path, stores)
    yield made
    made.end()
    assert processes(tmp_path) == []


def write_app(deployment: Deployment, start: dict) -> tuple[Path, str]:
    """A bundle from elsewhere with its questions; returns its folder and hash."""
    app, folder = deployment.folder / "app", deployment.folder
    app.mkdir()
    (app / "pyproject.toml").write_text(PROJECT.format(folder=folder))
    (app / "elsewhere.py").write_text(APP.replace("FOLDER", repr(str(folder))))
    contract = contract_of(make_study(schedule={"total_steps": 10**6}), steps=10**6)
    (folder / "contract.json").write_text(contract.text)
    for site in deployment.sites.values():
        assert brainjepa("site", "review", site, "--contract", folder / "contract.json")[0] == 0
        assert brainjepa("site", "approve", site, contract.hash)[0] == 0
    for kind, arrays in ((DESCRIBE, {}), (TRAIN, start)):
        (folder / f"{kind}.json").write_text(contract.asked(0).model_dump_json())
        (folder / f"{kind}.bin").write_bytes(pack_arrays(arrays).tobytes())
    return app, hashlib.sha256(build_fab_from_disk(app)).hexdigest()


def test_two_sites_are_asked_by_a_bundle_from_elsewhere(deployment, start):
    app, found = write_app(deployment, start)
    folder, sites = deployment.folder, deployment.sites
    lyon = deployment.start("Lyon")
    deployment.until("Lyon", "supernode", "refused by the coordinator, and asks again")
    assert deployment.failing("Paris") == ["/v1/control", "admission"]  # no proxy is in front
    for name in sites:
        deployment.admit(name)
    assert deployment.failing("Paris") == ["/v1/control"]
    paris = deployment.begin([sys.executable, "-c", TRUSTING, str(sites["Paris"]), found])
    deployment.is_up("Lyon")
    deployment.is_up("Paris")
    code, shown = brainjepa("site", "start", sites["Lyon"])
    assert code == 1 and f"found one (process {lyon.pid}); look at it" in shown

    deployment.ask(app)
    foreign = (
        f"expected the bundle of brainjepa-federated {VERSION}, found another, which was not "
        "opened; bring coordinator and site to one version"
    )
    assert deployment.told("describe") == [["error", 7, foreign], ["reply", "Paris", ""]]
    line = deployment.events("Lyon")[1]
    assert (line["event"], line["bundle"]) == ("did not open", found)
    assert [line["event"] for line in deployment.events("Paris")][:2] == ["approved", "answered"]
    for name in sites:
        assert not list((folder / name / "state" / "site.run" / "flower").rglob("*elsewhere*"))
    assert not (folder / "opened").exists()

    # The run is stopped while Paris trains.
    listed = subprocess.run(
        [deployment.programs / "flwr", "list", "here", "--format", "json"],
        env=deployment.variables, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    run = json.loads(listed)["runs"][0]["run-id"]
    deployment.flower("flwr", "stop", run, "here").wait(PATIENCE)
    deployment.until("Paris", "worker", "ready")
    assert deployment.events("Paris")[-1]["refusal"] == STOPPED

    # Each program is killed, and comes back.
    for part in ("worker", "supernode"):
        before = deployment.status("Paris")["parts"][part]["pid"]
        os.kill(before, signal.SIGKILL)
        wait_for(
            lambda part=part: deployment.status("Paris")["parts"][part]["ends"], deployment.said
        )
        deployment.is_up("Paris")
        assert deployment.status("Paris")["parts"][part]["pid"] != before
    # The start itself is killed: nothing stays, and it begins again.
    paris.kill()
    paris.wait()
    home = folder / "Paris"
    wait_for(lambda: not processes(home), lambda: processes(home), PATIENCE)
    assert not deployment.status("Paris")["running"]
    paris = deployment.begin([sys.executable, "-c", TRUSTING, str(sites["Paris"]), found])
    deployment.is_up("Paris")

    # A site is stopped while it trains: the coordinator is told so by the site itself.
    deployment.ask(app)
    code, shown = brainjepa("site", "stop", sites["Paris"])
    assert (code, shown) == (0, "stopped\n")
    assert deployment.told("train") == [["error", 7, foreign], ["reply", None, STOPPED]]

    for name, process in (("Lyon", lyon), ("Paris", paris)):
        code, shown = brainjepa("site", "stop", sites[name])
        assert (code, shown) in ((0, "stopped\n"), (0, "nothing of this site ran\n"))
        assert process.wait(PATIENCE) == 0
        assert processes(folder / name) == []
        code, shown = brainjepa("site", "status", sites[name])
        assert code == 1 and shown == f"{name} does not run; start it (brainjepa site start)\n"
