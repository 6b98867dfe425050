"""Starting, looking at and stopping a site, without Flower's programs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from child_process import environment
from made_consortium import NOW, consortium
from running_sites import write_site
from typer.testing import CliRunner

from brainjepa_client.approving.membership import KEY, KIT
from brainjepa_client.cli import app
from brainjepa_client.deploying import control, run_folder
from brainjepa_client.deploying import running as running_module
from brainjepa_client.deploying.control import stop
from brainjepa_client.deploying.joining import join
from brainjepa_client.deploying.parts import Part
from brainjepa_client.deploying.run_folder import RunFolder
from brainjepa_client.deploying.running import environment as of_programs
from brainjepa_client.deploying.running import joined_kit
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings

# Holds the lock as a start does; deaf where it is told so.
HOLDS = (
    "import signal, sys, time; from pathlib import Path; import os\n"
    "from brainjepa_client.deploying.run_folder import RunFolder\n"
    "folder = RunFolder(Path(sys.argv[1]))\n"
    "if sys.argv[2] == 'deaf':\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "with folder.alone():\n    folder.tell({'pid': os.getpid()})\n    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def yaml(tmp_path, stores) -> Path:
    """The YAML of a site that has joined."""
    kit = consortium(tmp_path / "c")
    join(kit, "Lyon", tmp_path / "site" / "state", tmp_path)
    return write_site(tmp_path / "site", stores[0])


def called(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def held(state: Path, how: str = "hears") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(state), how], env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.parametrize("name", [KIT, KEY])
def test_a_site_that_has_not_joined_does_not_start(yaml, name):
    (yaml.parent / "state" / name).unlink()
    code, shown = called("start", yaml)
    assert code == 1 and "expected a site that has joined a consortium, found no '" in shown
    assert "join first (brainjepa site join KIT SITE.yaml)" in shown
    assert not (yaml.parent / "state" / "site.run").exists()


def test_a_kit_out_of_force_does_not_start(yaml):
    with pytest.raises(
        ValueError, match=r"found that by this machine's clock it begins in 36\d days; set"
    ):
        joined_kit(yaml.parent / "state", NOW.replace(year=NOW.year - 1))


def test_two_starts_of_one_site(yaml):
    first = held(yaml.parent / "state")
    code, shown = called("start", yaml)
    assert code == 1 and "expected no other start of this site, found one (proc" in shown
    assert f"(process {first.pid}); look at it with 'brainjepa site status', or end it" in shown
    code, shown = called("status", yaml, "--json")
    assert code == 0 and json.loads(shown) == {"site": "Lyon", "running": True, "pid": first.pid}
    assert called("stop", yaml) == (0, "stopped\n")
    assert first.wait(10) == -signal.SIGTERM
    first.stdout.close()


@pytest.mark.parametrize("killed", [False, True])
def test_where_nothing_runs(yaml, killed):
    """A status that a kill has left behind is no running start."""
    if killed:
        process = held(yaml.parent / "state")
        process.kill()
        process.wait()
        process.stdout.close()
        assert RunFolder(yaml.parent / "state").status.exists()
    assert called("stop", yaml) == (0, "nothing of this site ran\n")
    assert called("status", yaml) == (
        1, "Lyon does not run; start it (brainjepa site start)\n",
    )  # fmt: skip
    code, shown = called("status", yaml, "--json")
    assert code == 1 and json.loads(shown) == {"site": "Lyon", "running": False}


def test_a_start_that_does_not_end_is_told(yaml, monkeypatch):
    deaf = held(yaml.parent / "state", "deaf")
    for name in ("STEP", "SENDING", "LEAVING"):
        monkeypatch.setattr(control, name, -5 / 3)
    text = rf"start of this site \(process {deaf.pid}\) to end, found it at work still; look into"
    with pytest.raises(ValueError, match=text):
        stop(RunFolder(yaml.parent / "state"))
    deaf.kill()
    deaf.wait()
    deaf.stdout.close()


def with_programs(monkeypatch, supernode: str, worker: str) -> None:
    """Other programs in the place of SuperNode and worker."""

    def parts(_: object, __: object, ___: object, folder: RunFolder, ____: int) -> list[Part]:
        return [
            Part("supernode", [sys.executable, "-c", supernode], of_programs(folder),
                 folder.log("supernode"), running_module._SIGNS, running_module._REASONS),
            Part("worker", [sys.executable, "-c", worker], of_programs(folder),
                 folder.log("worker"), running_module._WORKER_SIGNS, {}),
        ]  # fmt: skip

    monkeypatch.setattr(running_module, "_parts", parts)


def started(monkeypatch, yaml: Path, supernode: str, worker: str, ends_with: str) -> str:
    """What a start tells until a line holds `ends_with`, and then stops."""
    with_programs(monkeypatch, supernode, worker)
    monkeypatch.setattr(running_module, "TICK", 0.02)
    monkeypatch.setattr(running_module, "SENDING", 0.0)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if ends_with in text:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    running_module.run(yaml, read_settings(yaml, SiteSettings), say)
    assert signal.getsignal(signal.SIGTERM) == before
    return "\n".join(said)


WAITS = "import time; time.sleep(600)"


def test_a_start_tells_what_its_programs_tell_and_ends_in_order(yaml, monkeypatch):
    node = f"print('INFO : SuperNode ID: 7', flush=True); {WAITS}"
    worker = f"print('2026-01-01T00:00:00 ready', flush=True); {WAITS}"
    folder = RunFolder(yaml.parent / "state")
    said = started(monkeypatch, yaml, node, worker, "worker: ready")
    assert "supernode: starting" in said and said.endswith(
        "stopping after the step at hand\nstopped"
    )
    assert not folder.is_running() and not folder.status.exists()
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.secret.stat().st_mode) == 0o600
    assert len(folder.secret.read_bytes()) == 32


def test_a_supernode_whose_worker_ended_is_started_anew(yaml, monkeypatch, tmp_path):
    """It would wait for the answer that died with the worker."""
    node = f"print('INFO : SuperNode ID: 7', flush=True); {WAITS}"
    once = tmp_path / "once"
    worker = (
        f"from pathlib import Path; import time; once = Path({str(once)!r}); second = once.exists()"
        "\nonce.touch()\nif second: print('2026-01-01T00:00:00 ready', flush=True); "
        "time.sleep(600)\nraise SystemExit(9)"
    )
    said = started(monkeypatch, yaml, node, worker, "worker: ready")
    assert said.splitlines().count("supernode: starting") == 2
    assert "worker: ended (exit code 9) and is started again" in said
    assert "supernode: stopped" in said.split("stopping after")[0]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("Exit Code: 305\\nFailed to initialize\\n[code: 1] Failed to activate SuperNode.",
         "refused by the coordinator, and asks again: it counts a SuperNode that was killed as "
         "there for a minute"),
        ("SSL/TLS handshake error detected.", "expected the coordinator's certificate, found ano"),
        ("SuperNode terminated gracefully.", "turned away by the coordinator, and asks again: "),
        ("[Errno 98] error while attempting to bind on address: address already in use",
         "expected the port of 127.0.0.1 that this start has taken, found another program on it; "),
        ("Traceback", "ended (exit code 1) and is started again; see '"),
    ],
)  # fmt: skip
def test_why_a_supernode_ended_is_told(yaml, monkeypatch, log, told):
    node = f"print('{log}', flush=True); raise SystemExit(1)"
    assert f"supernode: {told}" in started(monkeypatch, yaml, node, WAITS, f"supernode: {told}")


def test_nobody_gets_the_port_between_two_lives_of_a_supernode():
    with running_module._kept_port() as port:
        for _ in range(2):  # as uvicorn binds it
            with socket.create_server(("127.0.0.1", port)) as supernode:
                assert supernode.getsockname()[1] == port
            with socket.socket() as other, pytest.raises(OSError, match="already in use"):
                other.bind(("127.0.0.1", port))
            others = [socket.create_server(("127.0.0.1", 0)) for _ in range(50)]
            assert port not in {other.getsockname()[1] for other in others}
            for other in others:
                other.close()


def test_programs_ask_no_proxy_for_this_machine(tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for before, after in (("", "127.0.0.1,localhost"), (".org,x", ".org,x,127.0.0.1,localhost")):
        monkeypatch.setenv("NO_PROXY", before)
        variables = of_programs(RunFolder(tmp_path))
        assert variables["no_proxy"] == variables["NO_PROXY"] == after
    assert variables["FLWR_TELEMETRY_ENABLED"] == "0"
    assert variables["FLWR_HOME"] == str(tmp_path / "site.run" / "flower")


def test_a_start_draws_a_secret_of_its_own(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.alone():
        folder.begin(b"pem")
        first = folder.secret.read_bytes()
        folder.begin(b"pem")
    assert folder.secret.read_bytes() != first and folder.authority.read_bytes() == b"pem"
    assert stat.S_IMODE(folder.secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["stop", "status"])
def test_who_may_not_look_is_not_told_that_nothing_runs(yaml, monkeypatch, command):
    process = held(yaml.parent / "state")
    folder = yaml.parent / "state" / "site.run"

    def refused(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(run_folder.Path, "open", refused)  # root may look everywhere
        text = f"expected to look into '{folder}', found no permission to; call this as the user"
        with pytest.raises(ValueError, match=re.escape(text)):
            getattr(control, command)(RunFolder(yaml.parent / "state"))
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_start_of_another_user_is_not_ended(yaml, monkeypatch):
    process = held(yaml.parent / "state")

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(control.os, "kill", refused)
        code, shown = called("stop", yaml)
    assert code == 1 and (
        f"expected to be the user who started this site (process {process.pid}), found another; "
        "call this as that user"
    ) in " ".join(shown.split())
    process.kill()
    process.wait()
    process.stdout.close()
