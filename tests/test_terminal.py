"""What commands print, as it was when somebody last looked: at 80 and 120 columns, and into a pipe.

After a change that is meant: ``BRAINJEPA_TERMINAL=write pytest tests/test_terminal.py``, then read
what git shows of ``tests/terminal``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main
from rich.color import ColorSystem
from small_workplace import write_workplace
from test_words_of_paths import leaves
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.command.terminal import console

SHOTS = Path(__file__).parent / "terminal"
COMMANDS = dict(leaves(typer.main.get_command(command())))
STUDY = (
    "name: one\nrounds: {local_steps: 1, quorum: 1}\npretraining:\n"
    "  windows: {frames: 16}\n  training: {schedule: {total_steps: 1}}\n"
)
RUN = "--model run --task task.yaml --protocol protocol.yaml"
# A call of each command whose work takes seconds, in the order in which they are made.
CALLS = {
    "import": "import a.npz --participants a.tsv --out imported",
    "import-folder": "import-folder series --names names.txt --tr 2 --out folder",
    "relabel": "relabel stores/b --participants b.tsv",
    "measure": "measure run stores --settings study.yaml",
    "site check": "site check site.yaml",
    "site dry-run": "site dry-run site.yaml --settings study.yaml",
    "site dry-run --summary": "site dry-run site.yaml --settings study.yaml --summary",
    "site validate": "site validate painted/site.yaml",
    "site prepare": "site prepare painted/site.yaml",
    "site qc": "site qc painted/site.yaml",
    "site remove": "site remove painted/site.yaml 010001",
    "site init": "site init new.yaml --name lyon --store stores/a",
    "site review": "site review site.yaml",
    "site budget": "site budget private.yaml",
    "site log": "site log site.yaml",
    "site status": "site status site.yaml",
    "site stop": "site stop site.yaml",
    "site probe": f"site probe site.yaml {RUN} --out probed",
    "site embed": "site embed site.yaml --model run --out embedded.npz",
    "server init": "server init new-consortium --host localhost",
    "server admit": "server admit Lyon.request --dir consortium",
    "server sites": "server sites consortium",
    "server revoke": "server revoke Lyon --dir consortium",
    "server plan": "server plan one.yaml --people 40 --sites 3",
    "server status": "server status consortium",
    "server log": "server log consortium",
    "server stop": "server stop consortium",
    "schema": "schema protocol",
    "site check --print-config": "site check site.yaml --print-config",
}
# What is not called here, and why; what they print is tested where they are.
ELSEWHERE = {
    "pretrain": "bars", "export": "one path", "paint": "one line", "simulate": "minutes",
    "simulate attack": "minutes", "demo": "minutes", "evaluate": "as site probe",
    "evaluate-sites": "needs a study", "site finetune": "one path", "site interpret": "paths",
    "site evaluate": "as site probe", "site preflight": "asks the network", "site start": "serves",
    "site approve": "needs a contract", "site reject": "needs a contract",
    "site withdraw": "needs a contract", "site join": "needs a kit and a telephone",
    "server report": "needs a study", "server propose": "needs admitted sites",
    "server start": "serves", "fetch abide": "the network", "consortium try": "minutes",
    "phenotypes": "a cohort's tables",
    "simulate study": "minutes",
    "site import-vectors": "one line",
}  # fmt: skip
JSON = [
    words for words, found in COMMANDS.items() if any(p.name == "as_json" for p in found.params)
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = write_workplace(tmp_path_factory.mktemp("w"))
    (folder / "one.yaml").write_text(STUDY)
    budget = "policy: {privacy_budget: {epsilon: 8}}\n"
    (folder / "private.yaml").write_text((folder / "site.yaml").read_text() + budget)
    return folder


@pytest.fixture
def here(workplace, tmp_path, monkeypatch) -> Path:
    """A copy of the workplace, so that each call finds it as it was."""
    shutil.copytree(workplace, tmp_path / "w", symlinks=True)
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def modes() -> Iterator[tuple[str, dict[str, str]]]:
    for columns in ("80", "120"):
        yield f"{columns} columns, piped", {"COLUMNS": columns}
    yield "80 columns, a terminal", {"COLUMNS": "80", "FORCE_COLOR": "1"}


def printed(words: str, environment: dict[str, str]) -> str:
    result = CliRunner(env={"TERM": "xterm", **environment}).invoke(command(), words.split())
    assert result.exit_code in (0, 1), result.output
    assert "Traceback" not in result.output
    return result.output


def plain(text: str) -> str:
    """Without colours and what differs from run to run."""
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", text)
    text = re.sub(r"\b([0-9a-f]{4} ){3,15}[0-9a-f]{4}\b", "FINGERPRINT", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", lambda found: "HASH".ljust(len(found[0])), text)
    text = text.replace(str(Path.cwd()), "HERE")
    # The build of torch, and what it makes of the bytes that tell of it.
    text = re.sub(r"^│ (torch|describe) .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d{4}-\d\d-\d\d[T ][\d:.+Z]+", "TIME", text)
    # Figures of training, whose last digits vary; where a sign stands, a blank may.
    text = re.sub(r"[ -]\d\.\d{2,3}\b", lambda found: " " + "#" * (len(found[0]) - 1), text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"


def prepare(name: str) -> None:
    """What a call goes on from."""
    if name in ("site qc", "site remove"):
        printed(CALLS["site prepare"], {})
    if name in ("server sites", "server revoke"):
        printed(CALLS["server admit"], {})


def test_every_command_is_called_or_has_a_reason():
    called = {" ".join(word for word in name.split() if "--" not in word) for name in CALLS}
    assert called | set(ELSEWHERE) == set(COMMANDS) and not called & set(ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_what_is_printed(name, workplace, tmp_path, monkeypatch):
    texts = {}
    for number, (mode, environment) in enumerate(modes()):
        folder = tmp_path / str(number) / "w"
        shutil.copytree(workplace, folder, symlinks=True)
        monkeypatch.chdir(folder)
        prepare(name)
        text = click.unstyle(printed(CALLS[name], environment))
        framed = [line for line in text.splitlines() if re.search("[│┃━─]", line)]
        assert max(map(len, framed), default=0) <= int(environment["COLUMNS"]), mode
        assert "…" not in text, mode
        texts[mode] = plain(text)
    snapshot = "".join(f"--- {mode}\n{text}" for mode, text in texts.items() if "piped" in mode)
    path = SHOTS / f"{name.replace(' ', '_')}.txt"
    if os.environ.get("BRAINJEPA_TERMINAL") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(snapshot)
    assert snapshot == path.read_text()


@pytest.mark.parametrize("name", ["site check", "site log", "server sites", "site budget"])
def test_no_color_is_no_colour(name, here, monkeypatch):
    prepare(name)
    monkeypatch.setattr(console, "_color_system", ColorSystem.STANDARD)
    terminal = {"COLUMNS": "80", "FORCE_COLOR": "1"}
    monkeypatch.setattr(console, "no_color", True)  # as rich reads NO_COLOR when it starts
    without = printed(CALLS[name], {**terminal, "NO_COLOR": "1"})
    assert not re.search(r"\x1b\[(\d+;)*[349]\d[;m]", without)


@pytest.mark.parametrize("words", [words for words in JSON if words in CALLS])
def test_json_is_all_that_stands_on_standard_output(words, here):
    prepare(words)
    result = CliRunner().invoke(command(), [*CALLS[words].split(), "--json"])
    assert result.exit_code in (0, 1), result.output
    assert "NaN" not in result.stdout and "\x1b" not in result.stdout
    assert isinstance(json.loads(result.stdout), dict | list)


def test_wherever_a_table_is_printed_there_is_json():
    rooms = [Path(__file__).parents[1] / room for room in ("client", "server", "simulations")]
    printing = {
        path.stem
        for room in rooms
        for path in room.rglob("*.py")
        if "rich.table import Table" in path.read_text()
    }
    assert {
        "site check", "site dry-run", "site preflight", "site probe", "site evaluate", "evaluate",
        "evaluate-sites", "measure", "simulate", "simulate attack", "demo", "server plan",
        "server sites", "server status", "site status", "site budget", "site log", "server log",
    } <= set(JSON)  # fmt: skip
    assert printing <= {
        "cli", "dry_run_table", "site_tables", "shown", "simulate", "attack", "local", "study",
    }, "print JSON, too, where a table is new"  # fmt: skip


def test_a_dry_run_begins_with_its_totals(here):
    text = click.unstyle(printed(CALLS["site dry-run --summary"], {"COLUMNS": "80"}))
    assert text.index("What would leave a, by message") < text.index("Policy lines")
