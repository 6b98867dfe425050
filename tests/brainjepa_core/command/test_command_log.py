"""The log of a command: what it holds, where it lies, and what becomes of a defect."""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path
from typing import Annotated

import pytest
import typer
from click import unstyle
from rich.table import Table
from typer.testing import CliRunner

from brainjepa_core.command import command_log
from brainjepa_core.command import waiting as waiting_module
from brainjepa_core.command.command_log import LOG, LoggedConsole, keep_log, logger
from brainjepa_core.command.terminal import AGAIN, Commands, console, errors_in_one_line
from brainjepa_core.command.waiting import waiting

TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", re.MULTILINE)
app = Commands()


@app.callback()
def _main() -> None:
    """Several commands."""


@app.command()
def work(
    out: Annotated[Path, typer.Option()], end: Annotated[str, typer.Option()] = "well"
) -> None:
    """Work, and end as is asked."""
    with errors_in_one_line(AGAIN):
        keep_log(out)
        if end == "refused":
            raise ValueError("expected a new folder, found one")
        console.print("[bold]2[/bold] people of\n1 site", soft_wrap=True)
        with waiting(console, "Scans", 3) as counted:
            counted.advance()
        table = Table("model", "R2")
        table.add_row("federated", "0.41")
        console.print(table)
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
        if end == "badly":
            raise ValueError("expected a, found b;\n\n  c")
        if end == "by a defect":
            raise {"a": KeyError("who")}["a"]
        if end == "by Ctrl-C":
            raise KeyboardInterrupt


@app.command()
def library(out: Annotated[Path, typer.Option()]) -> None:
    """Call a function of the library that warns."""
    with errors_in_one_line():
        keep_log(out)
        console.print("begun")
        logging.getLogger("brainjepa_core.some").warning("left out: 2 scans")
        logging.getLogger("brainjepa_core.some").debug("left out: sub-01")


@app.command()
def defect() -> None:
    """A defect before anything is written, in a command that keeps no log."""
    raise KeyError("sub-01")


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="brainjepa")
    return result.exit_code, result.stdout, unstyle(result.stderr)


def log_of(out: Path) -> list[str]:
    """Lines without their times, which each record begins with."""
    text = (out / LOG).read_text()
    assert TIME.match(text)
    return TIME.sub("", text).splitlines()


def test_a_log_holds_what_was_called_and_what_the_terminal_showed(tmp_path):
    out = tmp_path / "new" / "run"
    assert call("work", "--out", out)[0] == 0
    first, *lines = log_of(out)
    assert first.startswith(f"INFO brainjepa work --out {out} (brainjepa ")
    assert lines[:2] == ["INFO 2 people of", "INFO 1 site"]
    assert lines.count("INFO 1 site") == 1
    assert any("federated" in line and "0.41" in line for line in lines)
    assert any(line.startswith("WARNING ") and "divide by zero" in line for line in lines)
    assert "Scans: 1 of 3" not in "\n".join(lines)  # half a minute had not passed
    call("work", "--out", out)  # another run goes on below
    assert log_of(out)[: len(lines)] == [first, *lines[:-1]]
    assert sum(line.startswith("INFO brainjepa work") for line in log_of(out)) == 2
    assert command_log._open == []


@pytest.mark.parametrize(
    ("end", "code", "last"),
    [
        ("badly", 1, ["ERROR expected a, found b;", "c"]),
        ("by Ctrl-C", 130, ["ERROR stopped; run the same command again to go on"]),
    ],
)
def test_a_log_ends_with_what_went_wrong(tmp_path, end, code, last):
    assert call("work", "--out", tmp_path, "--end", end)[0] == code
    assert log_of(tmp_path)[-len(last) :] == last


def test_a_refusal_leaves_no_trace(tmp_path):
    assert call("work", "--out", tmp_path / "a", "--end", "refused")[0] == 1
    assert not (tmp_path / "a").exists()
    (tmp_path / LOG).write_text("of an earlier run\n")
    call("work", "--out", tmp_path, "--end", "refused")
    assert (tmp_path / LOG).read_text() == "of an earlier run\n"


def test_a_defect_is_one_line_that_names_the_log_with_its_traceback(tmp_path):
    code, _, told = call("work", "--out", tmp_path, "--end", "by a defect")
    assert code == 1
    assert told == (
        "Error: expected an end, or an error that says how to mend it, found a defect of brainjepa "
        f"itself; report it with the end of '{tmp_path / LOG}', which says where it is (look first "
        "whether it names a person)\n"
    )
    lines = log_of(tmp_path)
    assert "CRITICAL Traceback (most recent call last):" in lines and "KeyError: 'who'" in lines


def test_a_defect_without_a_log_gets_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, told = call("defect")
    (path,) = tmp_path.iterdir()
    assert code == 1 and f"'{path}'" in told and "KeyError" not in told
    assert "KeyError: 'sub-01'" in path.read_text()


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_tells_every_step_and_where_an_error_arose(tmp_path, flag):
    for end, said in (("well", ""), ("badly", "ValueError: expected a, found b;"),
                      ("by a defect", "KeyError: 'who'")):  # fmt: skip
        _, shown, told = call("work", "--out", tmp_path, flag, "--end", end)
        assert "Scans: 1 of 3" in told and said in told
        assert ("divide by zero" in told) == (end == "well")  # Python tells it once
        assert ("Traceback" in told) == bool(said)
        assert shown.count("2 people of") == 1 and "people" not in told  # nothing twice
    assert "DEBUG Scans: 1 of 3, 0 min 00 s so far" in log_of(tmp_path)


@pytest.mark.parametrize("flags", [(), ("--verbose",)])
def test_what_the_library_warns_of_is_told_once_and_in_the_log(tmp_path, flags):
    """What is for debugging may name people: with --verbose only."""
    code, _, told = call("library", "--out", tmp_path, *flags)
    assert code == 0 and told.count("left out: 2 scans") == 1
    assert "WARNING left out: 2 scans" in log_of(tmp_path)
    named = (told + (tmp_path / LOG).read_text()).count("left out: sub-01")
    assert named == (2 if flags else 0)
    assert logging.getLogger("brainjepa_core").handlers == []


def test_a_log_on_a_terminal_gets_the_lines_of_long_work_too(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting_module, "EVERY", 0.001)
    written = waiting_module.threading.Event()
    listener = logging.Handler(logging.INFO)
    listener.emit = lambda record: written.set()
    logger.addHandler(listener)
    monkeypatch.setattr(console, "_force_terminal", True)
    with errors_in_one_line():
        keep_log(tmp_path)
        with waiting(console, "Training"):
            assert written.wait(60)
    logger.removeHandler(listener)
    assert any(line.startswith("INFO Training: 0 min") for line in log_of(tmp_path))


def test_text_is_not_broken_where_no_terminal_is():
    broken = {}
    for terminal in (False, True):
        file = io.StringIO()
        LoggedConsole(file=file, width=20, force_terminal=terminal).print("R2 of age " * 5)
        broken[terminal] = file.getvalue().count("\n") > 1
    assert broken == {False: False, True: True}


def test_a_disk_without_room_for_the_log_stops_no_work(tmp_path):
    (tmp_path / LOG).symlink_to("/dev/full")
    code, shown, told = call("work", "--out", tmp_path)
    assert (code, told) == (0, "") and "federated" in shown
