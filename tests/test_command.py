"""What a newcomer sees of the command line, on a terminal of eighty columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import typer.main
from typer.testing import CliRunner

from brainjepa import command

Found = tuple[tuple[str, ...], click.Command]


def commands(found: click.Command, words: tuple[str, ...] = ()) -> Iterator[Found]:
    """The command and all below it, each with the words that call it."""
    yield words, found
    for name, below in getattr(found, "commands", {}).items():
        yield from commands(below, (*words, name))


ALL = list(commands(typer.main.get_command(command())))


def shown(*words: str) -> str:
    """What a call prints at 80 columns, without frames, each run of whitespace one blank."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command(), list(words))
    assert result.exit_code == 0, result.output
    assert max(map(len, click.unstyle(result.output).splitlines())) <= 80
    return " ".join(re.sub("[─-╿]", " ", click.unstyle(result.output)).split())


def test_every_command_is_walked():
    assert {("import",), ("site", "prepare"), ("server", "report"), ("fetch", "abide")} <= {
        words for words, _ in ALL
    }


@pytest.mark.parametrize(("words", "found"), ALL, ids=[" ".join(w) or "brainjepa" for w, _ in ALL])
def test_every_argument_and_option_is_explained_on_screen(words, found):
    text = shown(*words, "-h")
    assert "…" not in text
    assert text == shown(*words, "--help")
    for parameter in found.params:
        assert parameter.help, f"{parameter.name} has no help"
        assert " ".join(parameter.help.split()) in text
        if isinstance(parameter, click.Option):
            assert set(parameter.opts) <= set(re.split("[ ,]", text))
    for name, below in getattr(found, "commands", {}).items():
        assert f"{name} {' '.join((below.help or '').split())}" in text


def test_one_thing_has_one_name():
    """A model's folder, settings of what is done, the result: the same word in every command."""
    options = {
        (words, name)
        for words, found in ALL
        for parameter in found.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }
    models = {"embed", "probe", "finetune", "interpret", "evaluate"}
    assert {words for words, name in options if name == "--model"} == {
        ("site", word) for word in models
    }
    assert {words for words, name in options if name == "--checkpoint"} == {("evaluate",)}
    writes = {words for words, name in options if name == "--out"}
    assert {("import",), ("paint",), ("fetch", "abide"), ("site", "embed")} <= writes
    settings = {words for words, name in options if name == "--settings"}
    assert settings == {("pretrain",), ("measure",), ("site", "finetune"), ("site", "dry-run")}


def test_a_misspelt_command_is_told_the_nearest_once():
    result = CliRunner(env={"COLUMNS": "80"}).invoke(command(), ["site", "vallidate"])
    text = " ".join(re.sub("[─-╿]", " ", click.unstyle(result.output)).split())
    assert result.exit_code == 2
    assert text.endswith("No such command 'vallidate'. Did you mean 'validate', 'evaluate'?")


def test_versions_of_what_decides_numbers_and_messages():
    assert re.fullmatch(r"brainjepa \S+, torch \d\S+, flwr \d\S+", shown("--version"))


def test_completion_is_offered():
    result = CliRunner().invoke(
        command(),
        prog_name="brainjepa",
        env={
            "_BRAINJEPA_COMPLETE": "complete_bash",
            "COMP_WORDS": "brainjepa site va",
            "COMP_CWORD": "2",
        },
    )
    assert "validate" in result.output.split()
