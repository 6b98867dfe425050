"""One server at a time, told to stop by others; what each command says where none runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from made_consortium import consortium, request
from typer.testing import CliRunner

from brainjepa_core.files import LARGEST_LOG
from brainjepa_server.cli import app
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.consortium.studies import place_study
from brainjepa_server.deploying.processes import end_processes, start_process
from brainjepa_server.deploying.running import RunningFolder
from brainjepa_server.deploying.starting import Server
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    append_round,
    write_history,
)
from brainjepa_server.rounds.received import ReceivedLog
from brainjepa_server.settings import StudySettings

STUDY = {
    "name": "one",
    "rounds": {"local_steps": 2, "quorum": 2},
    "pretraining": {"training": {"schedule": {"total_steps": 4, "warmup_steps": 1}}},
}


@pytest.fixture
def folder(tmp_path) -> Path:
    consortium(tmp_path / "c", "127.0.0.1")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path / "c"


def server(*words: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "999"}).invoke(app, [*map(str, words)])
    return result.exit_code, result.output


def test_a_second_server_of_a_consortium_is_refused(folder):
    with RunningFolder(folder).alone():
        code, text = server("start", folder)
    assert code == 1
    assert (
        f"expected no server of '{folder}' at work, found one; 'brainjepa server status' says what "
        "it does, 'brainjepa server stop' ends it" in text
    )


def test_what_a_killed_server_left_is_removed_by_the_next(folder):
    running = RunningFolder(folder)
    with running.alone():
        running.begin(8000, "one")
        left = {path.name: path.read_bytes() for path in running.path.iterdir() if path.is_file()}
    for name, content in left.items():
        (running.path / name).write_bytes(content)
    running.stop.touch()
    assert running.server() is None  # nobody holds the lock
    with running.alone():
        assert not running.stop.exists() and not running.secret.exists()


def test_the_secret_is_for_its_owner_and_of_one_run(folder):
    running, seen = RunningFolder(folder), set()
    for _ in range(2):
        with running.alone():
            running.begin(8000, None)
            assert stat.S_IMODE(running.secret.stat().st_mode) == 0o600
            assert stat.S_IMODE(running.path.stat().st_mode) == 0o700
            seen.add(running.secret.read_bytes())
        assert not running.secret.exists()
    assert len(seen) == 2


def asked(running: RunningFolder, *, now: bool) -> threading.Thread:
    thread = threading.Thread(target=running.ask_to_stop, kwargs={"now": now})
    thread.start()
    return thread


def test_stop_leaves_a_word_and_waits_for_the_end(folder):
    running = RunningFolder(folder)
    with running.alone():
        running.begin(8000, "one")
        stopping = asked(running, now=False)
        while not running.stop.exists():
            time.sleep(0.01)
        assert stopping.is_alive()
    stopping.join(20)
    assert not stopping.is_alive() and not running.stop.exists()


def test_stop_now_ends_the_process(folder):
    running, ended = RunningFolder(folder), threading.Event()
    former = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        with running.alone():
            running.begin(8000, "one")
            stopping = asked(running, now=True)
            while not ended.is_set():
                time.sleep(0.01)
        stopping.join(20)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert not stopping.is_alive() and not running.stop.exists()


def test_a_server_of_another_user_is_not_ended(folder, monkeypatch):
    running = RunningFolder(folder)

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    with running.alone():
        running.begin(8000, "one")
        text = rf"^expected to be the user who started the server \(process {os.getpid()}\), found"
        with pytest.raises(ValueError, match=text):
            running.ask_to_stop(now=True)


def test_logs_of_a_server_at_work_are_bounded(folder):
    serving = Server(ConsortiumFolder(folder), 1, False, print)
    serving.running = RunningFolder(folder)
    with serving.running.alone():
        log = serving.running.log("superlink")
        log.write_bytes(b"x" * (LARGEST_LOG + 1))
        serving.processes["superlink"] = start_process(["sleep", "600"], {}, log)
        serving.running.stop.touch()
        serving.admitted = {}
        assert serving._watch(None) == 0
        end_processes(serving.processes.values())
    assert log.stat().st_size == 0
    assert log.with_name("superlink.log.old").stat().st_size == LARGEST_LOG + 1


@pytest.mark.parametrize("words", [["stop"], ["stop", "--now"]])
def test_stop_where_nothing_runs(folder, words):
    assert server(words[0], folder, *words[1:]) == (0, "No server of this consortium runs\n")


def test_a_port_that_is_taken_is_told_before_anything_runs(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, text = server("start", folder, "--superlink-port", port)
    assert code == 1
    assert (
        f"expected to listen on port {port} of this machine, found another program on it; give "
        "another with --superlink-port" in text
    )
    assert not (folder / "running" / "superlink.log").exists()


def test_the_port_of_sites_is_told_with_its_own_mend(folder):
    with socket.socket() as other, socket.socket() as free:
        for listener in (other, free):
            listener.bind(("127.0.0.1", 0))
        other.listen()
        port, link = other.getsockname()[1], free.getsockname()[1]
        free.close()
        server("init", folder, "--port", port)
        code, text = server("start", folder, "--superlink-port", link)
    assert code == 1 and f"listen on port {port} of this machine, found another program" in text
    assert "'brainjepa server init --port' sets another" in text


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda f: (f / "pki" / "server.crt").unlink(), "expected the server's certificate in"),
        (lambda f: (f / "pki" / "server.crt").write_text("x"), "found none, or a damaged one"),
        (lambda f: (f / "pki" / "server.key").unlink(), "expected a private key"),
        (lambda f: (f / "kit").write_text("x"), "kit"),
        (lambda f: (f / "admitted" / "a.pub").write_text("x"), "expected a site's public key"),
    ],
)
def test_a_folder_that_lacks_something_is_told_before_anything_runs(folder, damage, text):
    damage(folder)
    code, told = server("start", folder)
    assert code == 1 and text in told and told.count("Error:") == 1
    assert not (folder / "running" / "superlink.log").exists()


def test_a_study_of_other_settings_does_not_take_the_place_of_one(folder, tmp_path):
    made = ConsortiumFolder(folder)
    assert place_study(made, tmp_path / "study.yaml") == "one"
    settings = StudySettings.model_validate(STUDY).model_dump(mode="json")
    write_history(folder / "studies" / "one", RunHistory(name="one", settings=settings))
    changed = {**STUDY, "rounds": {**STUDY["rounds"], "retries": 5}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed))
    place_study(made, tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "folds": 7}))
    code, text = server("start", folder, tmp_path / "study.yaml")
    assert code == 1 and "expected folds = 7, found 5 in the saved study 'one'" in text


def test_two_studies_that_have_not_ended_are_not_guessed_between(folder, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "name": name}))
        place_study(ConsortiumFolder(folder), tmp_path / "study.yaml")
    code, text = server("start", folder)
    assert code == 1
    assert "expected one study that has not ended, found 2 (one, two); name the one to go" in text


def test_status_where_nothing_runs_knows_what_it_knows(folder, tmp_path):
    server("admit", request(tmp_path), "--dir", folder)
    place_study(ConsortiumFolder(folder), tmp_path / "study.yaml")
    assert json.loads(server("status", folder, "--json")[1]) == {
        "running": False,
        "study": None,
        "sites": {"Lyon": None},
        "studies": {
            "one": {"finished": False, "round": 0, "rounds": None, "loss": None, "left_out": {}}
        },
    }
    study = folder / "studies" / "one"
    write_history(study, RunHistory(name="one", total_rounds=2, left_out={"Paris": "no [atlas]"}))
    site = SiteRecord(loss=0.25, share=1)
    append_round(study, RoundRecord(number=1, sites={"Nice": site}, rejected={"Lyon": "late"}))
    code, text = server("status", folder)
    assert code == 0 and text.splitlines() == [
        "The server does not run",
        "  site Lyon: not known",
        "Study one: not finished, round 1 of 2, loss 0.2500",
        "  left out Paris: no [atlas]",
        "  left out Lyon: late",
    ]


def test_the_log_where_no_study_has_begun_says_so(folder):
    assert server("log", folder) == (0, "no study of this consortium has begun\n")


def test_the_log_of_a_study_and_its_first_broken_line(folder, tmp_path):
    place_study(ConsortiumFolder(folder), tmp_path / "study.yaml")
    kept = ReceivedLog(folder / "studies" / "one", "one")
    kept.note("Lyon", "train", 0, {"w": 12}, "")
    kept.note("Paris", "train", 0, {}, "its policy says no")
    code, text = server("log", folder)
    assert code == 0
    assert "Lyon: train of study 'one', round 1: 1 array of 12 bytes" in text
    assert "Paris: train of study 'one', round 1: its policy says no" in text
    assert "Study 'one': 2 lines, each vouched for by the next" in text
    assert text.endswith(f"note the hash of the last one: {kept.log.head}\n")
    assert "Lyon" not in server("log", folder, "--verify")[1]
    told = json.loads(server("log", folder, "--json")[1])
    assert [line["site"] for line in told["one"]["lines"]] == ["Lyon", "Paris"]
    told = json.loads(server("log", folder, "--json", "--verify")[1])
    assert told == {"one": {"lines": [], "head": kept.log.head}}
    path = kept.log.path
    path.write_text(path.read_text().replace('"w": 12', '"w": 13'))
    code, text = server("log", folder, "--verify")
    assert code == 1 and "found that line 1 or 2 is not" in text


SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
STARTS = """
import sys, time
from pathlib import Path
from brainjepa_server.deploying.processes import start_process
child = start_process([sys.executable, "-c", "import time; time.sleep(600)"], {}, None)
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def is_alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_ends_with_the_one_that_started_it(tmp_path, number):
    from child_process import environment

    told = tmp_path / "child"
    parent = subprocess.Popen([sys.executable, "-c", STARTS, told], env=environment())
    while not (told.exists() and told.read_text()):
        time.sleep(0.01)
    child = int(told.read_text())
    assert is_alive(child)
    os.kill(parent.pid, number)
    parent.wait(20)
    until = time.monotonic() + 20
    while is_alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_alive(child)


def test_a_process_that_does_not_listen_is_ended_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("brainjepa_server.deploying.processes.PATIENCE", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS
    log = tmp_path / "log"
    process = start_process([sys.executable, "-c", deaf], {}, log)
    while log.read_text() != "up\n":
        time.sleep(0.01)
    end_processes([process])
    assert process.returncode == -signal.SIGKILL
