"""A program of a site is kept alive, heard, and ended; it outlives nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from child_process import environment
from running_sites import wait_for

from brainjepa_client.deploying import parts as parts_module
from brainjepa_client.deploying.parts import Part
from brainjepa_core.files import bound_log

STAYS = "print('up', flush=True); import time; time.sleep(600)"


def part(folder: Path, program: str, reasons: dict | None = None) -> Part:
    command = [sys.executable, "-c", program]
    signs, log = {"^up": "is up", "^lost": "has lost it"}, folder / "part.log"
    return Part("part", command, environment(), log, signs, reasons or {})


def tended(made: Part, condition) -> None:
    wait_for(lambda: made.tend() or condition(), lambda: made.state)


def test_the_last_thing_of_meaning_in_its_log_holds(tmp_path):
    (tmp_path / "part.log").write_text("lost\n")  # of an earlier life
    made = part(tmp_path, "print('lost\\nwhatever'); " + STAYS)
    assert made.state == "not started"
    try:
        tended(made, lambda: made.state == "is up")
        assert made.pid is not None
    finally:
        made.stop(10)
    assert made.state == "stopped" and made.pid is None


def test_it_is_started_anew_with_growing_waits_that_are_bounded(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(parts_module.time, "monotonic", lambda: now[0])
    made, waits = part(tmp_path, "print('up'); raise SystemExit(3)"), []
    made.tend()
    for _ in range(8):
        os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)
        made.tend()
        assert made.pid is None
        assert made.state == (
            f"ended (exit code 3) and is started again; see '{tmp_path / 'part.log'}'"
        )
        ended = now[0]
        while made.pid is None:
            now[0] += 0.5
            made.tend()
        waits.append(now[0] - ended)
    made.stop(10)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_whatever_kills_it_it_comes_back(tmp_path, number):
    made = part(tmp_path, STAYS)
    try:
        tended(made, lambda: made.state == "is up")
        before = made.pid
        os.kill(before, number)
        tended(made, lambda: made.pid not in (None, before) and made.state == "is up")
        assert made.ends == 1
    finally:
        made.stop(10)


def test_its_log_is_bounded_while_it_runs_and_heard_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "bound_log", lambda log: bound_log(log, 1000))
    talks = (
        "import time\nfor number in range(2000):\n"
        "    print('up' if number % 2 else 'lost', number, flush=True); time.sleep(0.0005)\n"
        "print('lost at last', flush=True); time.sleep(600)"
    )
    made = part(tmp_path, talks)
    log, old = tmp_path / "part.log", tmp_path / "part.log.old"

    def is_written() -> bool:
        return any(b"at last" in file.read_bytes() for file in (log, old) if file.exists())

    try:
        tended(made, lambda: is_written() and made.state == "has lost it")
        assert log.stat().st_size + old.stat().st_size < 15_000
    finally:
        made.stop(10)


def test_a_reason_for_its_end_is_what_is_told(tmp_path):
    made = part(tmp_path, "print('no key'); raise SystemExit(1)", {"no key": "has no key"})
    tended(made, lambda: made.ends)
    assert made.state == "has no key"
    made.stop(10)


def test_what_hears_no_signal_is_ended_with_force(tmp_path):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAYS
    made = part(tmp_path, deaf)
    tended(made, lambda: made.state == "is up")
    pid = made.pid
    made.stop(0.1)
    assert not Path(f"/proc/{pid}").exists()


def test_it_ends_with_the_process_that_started_it_even_if_that_one_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from brainjepa_client.deploying.parts import "
        f"Part; part = Part('part', [sys.executable, '-c', {STAYS!r}], {{}}, "
        f"Path({str(tmp_path / 'log')!r}), {{'up': 'is up'}}, {{}})\n"
        "while part.state != 'is up':\n    part.tend()\n    time.sleep(0.01)\n"
        "print(part.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    """A zombie that nobody in a container waits for is dead."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
