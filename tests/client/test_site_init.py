"""``brainjepa site init`` writes a YAML that the next command can go on with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_workplace import write_workplace
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings

IMAGE = "painted/atlas/tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.nii.gz"
FMRIPREP = (
    "--name", "lyon", "--kind", "fmriprep", "--folder", "painted/fmriprep",
    "--label-image", IMAGE, "--atlas", "painted/atlas.tsv",
)  # fmt: skip


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(write_workplace(tmp_path))
    return tmp_path


def init(*words: str, answers: str | None = None) -> tuple[int, str]:
    runner = CliRunner(env={"COLUMNS": "999"})
    result = runner.invoke(command(), ["site", "init", *words], input=answers)
    return result.exit_code, result.output


def test_options_become_a_yaml_whose_scans_can_be_read(workplace):
    code, shown = init("mine/deep/site.yaml", *FMRIPREP, "--tr", "2", "--store", "kept")
    assert code == 0 and "next: brainjepa site validate mine/deep/site.yaml" in shown, shown
    site = read_settings("mine/deep/site.yaml", SiteSettings)
    assert site.preparation().input.folder.samefile("painted/fmriprep")
    assert site.preparation().input.tr == 2.0
    assert site.store.resolve() == workplace / "kept"
    assert site.state.resolve() == workplace / "mine" / "deep" / "state"
    result = CliRunner().invoke(command(), ["site", "validate", "mine/deep/site.yaml"])
    assert result.exit_code == 0, result.output
    text = Path("mine/deep/site.yaml").read_text()
    assert str(workplace) not in text
    assert "  min_subjects: 20\n" in text and "  #min_people_in_sum: 3\n" in text


def test_what_is_not_given_is_asked_for_at_a_terminal(workplace, monkeypatch):
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("brainjepa_client.preparing.init_cli.sys", terminal)
    code, shown = init("site-b.yaml", answers="lyon\nseries\nseries\nnames.txt\n")
    assert code == 0, shown
    for question in ("What is this site called?", "Kind of scans", "Where are the scans?"):
        assert question in shown
    found = read_settings("site-b.yaml", SiteSettings).preparation().input
    assert (found.kind, found.names.name) == ("series", "names.txt")


def test_a_store_that_is_there_needs_no_scans(workplace):
    code, shown = init("b.yaml", "--name", "lyon", "--store", "stores/a")
    assert code == 0, shown
    site = read_settings("b.yaml", SiteSettings)
    assert site.prepare is None and site.store.samefile("stores/a")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("site.yaml", *FMRIPREP), "expected the name of a new file, found 'site.yaml'; edit that"),
        (("b.yaml",), "expected --name, found neither it nor a terminal to ask at; give --name"),
        (("b.yaml", "--name", "a", "--kind", "hcp"), "expected --folder, found neither it nor"),
        (("b.yaml", *FMRIPREP[:4], "--folder", "painted/fmriprep"), "expected --label-image"),
        (("b.yaml", "--name", "a b", *FMRIPREP[2:]), "name: expected text of the form"),
        (("b.yaml", *FMRIPREP[:4], "--folder", "gone", *FMRIPREP[6:]), "found no "),
        (("b.yaml", *FMRIPREP, "--store", "painted/fmriprep/x"), "expected a place outside"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_site_is_told_and_nothing_written(words, found, workplace):
    before = Path("site.yaml").read_text()
    code, shown = init(*words)
    assert code == 1 and found in shown, shown
    assert not Path("b.yaml").exists() and Path("site.yaml").read_text() == before
