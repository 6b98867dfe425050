"""Long work on a terminal and in a log."""

from __future__ import annotations

import io
import re
import threading

import pytest
import typer
from rich.console import Console

from brainjepa_core.command import waiting as waiting_module
from brainjepa_core.command.terminal import AGAIN, errors_in_one_line
from brainjepa_core.command.waiting import Work, waiting


class Log(io.StringIO):
    """A log that says when so many lines are in it."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.left, self.written = lines, threading.Event()

    def write(self, text: str) -> int:
        self.left -= text.count("\n")
        done = super().write(text)
        if self.left <= 0:
            self.written.set()
        return done


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(waiting_module, "EVERY", 0.001)


def test_a_log_gets_a_line_every_so_often(quick):
    log = Log(2)
    with waiting(Console(file=log, width=20), "Scans of a [bold] site", 54) as work:
        work.update(done=11)
        work.advance()
        assert log.written.wait(60)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert re.fullmatch(
            r"Scans of a \[bold\] site: (0|11|12) of 54, \d+ min \d\d s so far", line
        )


def test_work_that_counts_nothing_says_for_how_long(quick):
    log = Log(1)
    with waiting(Console(file=log), "Fine-tuning"):
        assert log.written.wait(60)
    assert re.match(r"Fine-tuning: 0 min \d\d s so far\n", log.getvalue())


@pytest.mark.parametrize("total", [None, 3])
def test_short_work_says_nothing_in_a_log_and_leaves_no_thread(total):
    before, log = threading.active_count(), io.StringIO()
    with pytest.raises(KeyError), waiting(Console(file=log), "a", total):
        raise KeyError("a defect")
    assert log.getvalue() == "" and threading.active_count() == before


def test_the_time_is_told_in_minutes(monkeypatch):
    monkeypatch.setattr(waiting_module.time, "monotonic", lambda: 100.0)
    work = Work("a")
    monkeypatch.setattr(waiting_module.time, "monotonic", lambda: 225.9)
    assert work.line() == "a: 2 min 05 s so far"
    work.update("b", done=2, total=7)
    assert work.line() == "b: 2 of 7, 2 min 05 s so far"


def test_a_terminal_gets_a_bar_or_a_spinner():
    for counted, shown in ((True, ["looking [1]", "2/5"]), (False, ["looking [1]"])):
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, width=100)
        with waiting(console, "begin", counted=counted) as work:
            work.update("looking [1]", done=2, total=5)
        assert all(text in file.getvalue() for text in shown)
        assert "so far" not in file.getvalue()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ((), "stopped; run the same command again, which begins anew\n"),
        ((AGAIN,), "stopped; run the same command again to go on\n"),
    ],
)
def test_ctrl_c_is_one_line_and_130(capsys, how, text):
    with pytest.raises(typer.Exit) as stopped, errors_in_one_line(*how):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr() == ("", text)
