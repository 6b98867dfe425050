"""``--print-config`` of every command that reads a YAML prints what it would read, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml
from small_workplace import write_workplace
from test_words_of_paths import CALLS, NEW, NO_PATH, leaves
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_client.settings import SiteSettings
from brainjepa_core.command.print_config import readers_of
from brainjepa_core.settings import read_settings
from brainjepa_simulations.paper_studies.settings import study_file

COMMANDS = dict(leaves(typer.main.get_command(command())))
READING = [words for words, found in COMMANDS.items() if found.readers]
YAMLS = ("site.yaml", "study.yaml", "task.yaml", "protocol.yaml", "finetune.yaml")
SCENARIO = (
    "cohort: {sites: 1}\nstudy: {name: a, rounds: {local_steps: 1, quorum: 1}, pretraining: "
    "{training: {schedule: {total_steps: 1}}}}\n"
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = write_workplace(tmp_path_factory.mktemp("workplace"))
    (folder / "scenario.yaml").write_text(SCENARIO)
    (folder / "made_up.yaml").write_text(SCENARIO)
    (folder / "paper_study.yaml").write_text(study_file("attention").read_text())
    study = yaml.safe_load(SCENARIO)["study"]
    (folder / "federation.yaml").write_text(yaml.safe_dump(study))
    (folder / "contract.json").touch()
    (folder / "consortium").mkdir(exist_ok=True)
    return folder


def called(words: str, folder: Path, new: Path, *more: str):
    arguments = words.split()
    values = dict(CALLS[words])
    values.pop("--data" if words == "simulate" else "--test", None)
    if words == "site prepare":
        values = {"words": "site.yaml"}
    for name, value in values.items():
        path = str(new) if value == NEW else str(folder / value)
        text = value if name in NO_PATH or value in ("no", "demo") else path
        arguments += [name, text] if name.startswith("--") else [text]
    return CliRunner().invoke(command(), [*arguments, *more])


def test_commands_that_read_a_yaml_are_known():
    for words, found in COMMANDS.items():
        takes = {p.metavar for p in found.params} & {"SITE.yaml", "STUDY.yaml", "[STUDY]"}
        named = {p.name for p in found.params} & {
            "scenario",
            "study",
            "task",
            "protocol",
            "settings",
            "cohort",
        }
        if words not in ("site init", "site prepare"):
            assert bool(takes or named) == (words in READING), words
    assert len(READING) > 25


@pytest.mark.parametrize("words", READING)
def test_it_prints_settings_and_nothing_is_done(words, workplace, tmp_path):
    before = sorted(workplace.rglob("*"))
    result = called(words, workplace, tmp_path / "new", "--print-config")
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.iterdir()) and sorted(workplace.rglob("*")) == before
    documents = list(yaml.safe_load_all(result.stdout))
    assert documents and all(isinstance(one, dict) for one in documents)
    names = re.findall(r"^# ([\w-]+): ", result.stdout, re.MULTILINE)
    assert len(names) == len(documents)
    assert {name.replace("-", "_") for name in names} <= set(readers_of(COMMANDS[words].callback))


def test_it_can_be_read_again_from_anywhere(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    result = CliRunner().invoke(command(), ["site", "check", "site.yaml", "--print-config"])
    (tmp_path / "printed.yaml").write_text(result.stdout)
    printed = read_settings(tmp_path / "printed.yaml", SiteSettings)
    assert printed == read_settings(workplace / "site.yaml", SiteSettings)


def test_defaults_are_printed_and_what_is_wrong_is_told(tmp_path):
    (tmp_path / "study.yaml").write_text("windows: {frames: 64}\n")
    words = ["pretrain", str(tmp_path), "--out", str(tmp_path / "new"), "--print-config"]
    result = CliRunner().invoke(command(), [*words, "--settings", str(tmp_path / "study.yaml")])
    (told,) = yaml.safe_load_all(result.stdout)
    assert told["windows"]["frames"] == 64 and told["windows"]["tr"] == 2.0
    (tmp_path / "study.yaml").write_text("window: {frames: 64}\n")
    result = CliRunner().invoke(command(), [*words, "--settings", str(tmp_path / "study.yaml")])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: study.yaml line 1: window: no such field")
