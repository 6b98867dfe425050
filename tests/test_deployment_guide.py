"""The lines that docs/deployment.md shows do run, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer
import yaml
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_core.consortium.kit import read_kit
from brainjepa_server.deploying.starting import Server

STUDY = {
    "name": "one",
    "rounds": {"local_steps": 1, "quorum": 1},
    "pretraining": {"training": {"schedule": {"total_steps": 2, "warmup_steps": 1}}},
}
GUIDE = (Path(__file__).parents[1] / "docs" / "deployment.md").read_text()


def test_a_consortium_is_set_up_by_the_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("store").mkdir()
    Path("store", "store.json").write_text("{}")
    Path("site.yaml").write_text(
        yaml.safe_dump({"name": "Lyon", "store": "store", "state": "state"})
    )
    Path("study.yaml").write_text(yaml.safe_dump(STUDY))
    served: list[str | None] = []  # what it serves is tested with real SuperLinks
    monkeypatch.setattr(Server, "run", lambda server, study: served.append(study) or 0)
    lines = "".join(re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    assert len(lines) == 10
    for line in lines:
        if "$KIT_FINGERPRINT" in line:
            told = read_kit(Path("consortium", "kit")).fingerprint
            line = line.replace("$KIT_FINGERPRINT", told)
        program, *words = shlex.split(line)
        result = CliRunner().invoke(command(), words)
        assert (program, result.exit_code) == ("brainjepa", 0), result.output
    assert served == ["one"]
    assert not list(Path("consortium", "admitted").iterdir())
    assert len(list(Path("consortium", "revoked").iterdir())) == 1


def test_what_blocks_or_asks_other_machines_is_spelt_right(tmp_path, monkeypatch):
    """Other tests run these commands, against a server."""
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").touch()
    lines = re.findall(r"^brainjepa (.*)$", GUIDE, re.MULTILINE)
    tried = [line for line in lines if re.match("site (preflight|start|status|stop) ", line)]
    assert len(tried) == 5
    for line in tried:
        room, name, *words = shlex.split(line)
        found = typer.main.get_command(command()).commands[room].commands[name]
        found.make_context(name, words)


def test_what_it_names_is_there():
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\((?!http)([^)#]+)\)", GUIDE)
    assert named and [name for name in named if not (root / "docs" / name).exists()] == []
