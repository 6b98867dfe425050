"""docs/first-study.md, walked: every command by whom the guide says, and what it shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from deployed import ROOT, Deployed, free_ports, said

from brainjepa import command
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.settings import read_settings
from brainjepa_server.settings import StudySettings

GUIDE = (ROOT / "docs" / "first-study.md").read_text()
SITES = ("site-01", "site-02", "site-03")
BLOCKS = re.findall(r"^```(bash coordinator|bash site|text|yaml)\n(.*?)^```", GUIDE, re.M | re.S)


def commands() -> Iterator[str]:
    for kind, text in BLOCKS:
        if kind.startswith("bash"):
            yield from text.splitlines()


def test_every_command_of_the_guide_is_spelt_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "site.yaml",
        "study.yaml",
        "kit",
        "contract.json",
        *(f"{s}.request" for s in SITES),
    ):
        Path(name).touch()
    for name in ("final", "consortium/studies/first"):
        Path(name).mkdir(parents=True)
    for line in commands():
        program, group, name, *words = shlex.split(line)
        found = typer.main.get_command(command()).commands[group].commands[name]
        assert program == "brainjepa" and found.make_context(name, words)


def test_the_study_of_the_guide_is_one(tmp_path):
    (text,) = [text for kind, text in BLOCKS if kind == "yaml"]
    (tmp_path / "study.yaml").write_text(text)
    study = read_settings(tmp_path / "study.yaml", StudySettings)
    assert (study.name, study.sites) == ("first", SITES)


def test_what_the_guide_names_is_there():
    for name, anchor in re.findall(r"\]\((?!http)([\w.-]+)(?:#([\w-]+))?\)", GUIDE):
        text = (ROOT / "docs" / name).read_text()
        heads = [h.lower() for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
        slugs = [re.sub(r"[^\w -]", "", head).replace(" ", "-") for head in heads]
        assert not anchor or anchor in slugs, (anchor, slugs)


class Walk(Deployed):
    """Folders of a coordinator and of three hospitals, and the mail between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.coordinator = folder, folder / "coordinator"
        self.consortium = self.coordinator / "consortium"
        self.port, self.link = free_ports(2)
        self.coordinator.mkdir()
        self.meddling.mkdir()  # where nothing is asked for: a worker writes down its steps
        painted = (
            "paint",
            "--scenario",
            "three_hospitals",
            "--sites",
            3,
            "--out",
            folder / "sites",
        )
        assert said(*painted)[0] == 0
        for name in SITES:
            path = folder / "sites" / name / "site.yaml"
            path.write_text(path.read_text().replace("min_subjects: 20", "min_subjects: 10"))
        self.server: subprocess.Popen[bytes] | None = None
        self.alive: list[subprocess.Popen[bytes]] = []

    def mail(self) -> None:
        """What people send one another between two steps."""
        for name in SITES:
            place = self.folder / "sites" / name
            for contract in self.consortium.glob("contracts/*.json"):
                shutil.copy(contract, place / "contract.json")
            if (kit := self.consortium / "kit").exists():
                shutil.copy(kit, place / "kit")
            if (place / f"{name}.request").exists():
                shutil.copy(place / f"{name}.request", self.coordinator)
            if (final := self.consortium / "studies" / "first" / "final").exists():
                shutil.copytree(final, place / "final", dirs_exist_ok=True)

    def told(self, line: str) -> list[str]:
        """The words of a line, with what was told on the telephone, on this machine."""
        if "$FINGERPRINT" in line:
            line = line.replace("$FINGERPRINT", read_kit(self.consortium / "kit").fingerprint)
        if "$HASH" in line:
            (contract,) = self.consortium.glob("contracts/*.json")
            line = line.replace("$HASH", contract.stem[:12])
        here = f"--host 127.0.0.1 --port {self.port}"
        return shlex.split(line.replace("--host brain.example.org", here))[1:]

    def call(self, folder: Path, line: str) -> str:
        words, before = self.told(line), Path.cwd()
        if words[:2] == ["server", "report"]:
            assert self.server is not None
            assert self.server.wait(900) == 0, self.output()
            self.mail()
        os.chdir(folder)
        try:
            if words[:2] == ["server", "start"]:
                self.server = self.serve(folder / words[3])
                self.wait(lambda: self.listens(), self.server)
                return ""
            if words[:2] == ["site", "start"]:
                self.alive.append(self.start("site", "start", folder / words[2]))
                self.wait(lambda: said("site", "status", folder / words[2])[0] == 0, *self.alive)
                self.wait(
                    lambda: "worker: " in said("site", "status", folder / words[2])[1], *self.alive
                )
                return ""
            code, shown = said(*words)
        finally:
            os.chdir(before)
        assert code == 0, f"{line}\n{shown}\n{self.output()}"
        return shown

    def listens(self) -> bool:
        (log,) = list((self.consortium / "running").glob("proxy.log")) or [None]
        return log is not None and "they reach this server at" in self.output()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_guide_ends_with_a_model_that_each_site_has_evaluated(tmp_path):
    walk = Walk(tmp_path)
    shown: list[str] = []
    try:
        for kind, text in BLOCKS:
            if kind == "yaml":
                (walk.coordinator / "study.yaml").write_text(text)
            elif kind == "text":
                for output in shown:
                    require_shown(text.splitlines(), output)
            else:
                folders = [walk.folder / "sites" / name for name in SITES]
                folders = [walk.coordinator] if kind.endswith("coordinator") else folders
                lines = text.splitlines()
                shown = ["".join(walk.call(f, line) for line in lines) for f in folders]
                walk.mail()
        assert [site.wait(90) for site in walk.alive] == [0, 0, 0]
        assert not walk.processes()
    finally:
        walk.clear()
    summary = walk.consortium / "studies" / "first"
    assert (summary / "report.html").exists() and (summary / "final" / "model.safetensors").exists()
    for name in SITES:
        assert list((walk.folder / "sites" / name / "probed").iterdir())
    assert yaml.safe_load((walk.coordinator / "study.yaml").read_text())["sites"] == list(SITES)


def require_shown(lines: list[str], output: str) -> None:
    """Each line of the guide is there, in this order; an ellipsis is any text."""
    shown = iter(output.splitlines())
    for line in lines:
        wanted = ".*".join(re.escape(part) for part in line.rstrip().split("…"))
        assert any(re.fullmatch(wanted, found.rstrip()) for found in shown), (line, output)
