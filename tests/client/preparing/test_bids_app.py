"""The call that BIDS Apps share."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import unstyle
from painted_sites import painted
from typer.testing import CliRunner

from brainjepa_client.cli import app
from brainjepa_client.preparing.bids_app import site_of_call
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore


@pytest.fixture
def tree(tmp_path):
    return painted(tmp_path / "site")


def call(tree, out, *words):
    options = ["--label-image", str(tree.label_image), "--atlas", str(tree.atlas_table)]
    options += ["--processes", "1"]
    command = ["prepare", str(tree.dataset), str(out), "participant", *words, *options]
    result = CliRunner().invoke(app, command)
    return result, " ".join(unstyle(result.stdout).split())


def test_all_people(tree, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    result, shown = call(tree, Path("out"))
    assert result.exit_code == 0, result.output
    assert "6 scans in the store" in shown
    assert len(ScanStore.open(out / "store").records) == 6
    assert (out / "store-quality" / "index.html").exists()
    assert len(list(out.glob("sub-*/ses-*/func/*_timeseries.tsv"))) == 6
    assert (out / "dataset_description.json").exists()
    assert "store/" in (out / ".bidsignore").read_text()
    settings = read_settings(out / "site.yaml", SiteSettings)
    assert settings.store == out / "store"  # whoever reads it, wherever they are
    assert settings.name == "site" and settings.preparation().input.label_image == tree.label_image


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("labels", ["split by the shell", "one option each", "with prefix"])
def test_some_people(tree, tmp_path, labels):
    one, two = sorted({subject.removeprefix("sub-") for subject, _, _ in tree.scans})[:2]
    words = {
        "split by the shell": ["--participant-label", one, two],
        "one option each": ["--participant-label", one, "--participant-label", two],
        "with prefix": ["--participant-label", f"sub-{one}", two],
    }[labels]
    result, _ = call(tree, tmp_path / "out", *words)
    assert result.exit_code == 0, result.output
    found = {record.subject for record in ScanStore.open(tmp_path / "out" / "store").records}
    assert found == {f"sub-{one}", f"sub-{two}"}


@pytest.mark.usefixtures("no_pictures")
def test_a_scan_that_fails_is_exit_1(tree, tmp_path):
    next(iter(tree.scans.values())).bold.write_bytes(b"")
    result, shown = call(tree, tmp_path / "out")
    assert result.exit_code == 1 and "1 failed" in shown
    assert len(ScanStore.open(tmp_path / "out" / "store").records) == 5


@pytest.mark.parametrize("words", [["a", "b"], ["a", "b", "subject"], ["a", "b", "group", "c"]])
def test_a_call_that_is_none(words):
    with pytest.raises(ValueError, match=r"expected SITE.yaml, or IN OUT participant .*found 'a b"):
        site_of_call(words, (), {})


def test_options_beside_a_yaml_are_refused(tree):
    result = CliRunner().invoke(app, ["prepare", str(tree.site), "--space", "fsLR"])
    assert result.exit_code == 1
    assert unstyle(result.stderr) == (
        "Error: expected --space in a call IN OUT participant only, found beside "
        f"'{tree.site}'; write it into that file (prepare.input.space), or leave it out\n"
    )


def test_what_the_yaml_would_refuse_is_one_line(tmp_path):
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["prepare", str(tmp_path / "gone"), out, "participant"])
    assert result.exit_code == 1
    text = unstyle(result.stderr)
    gone = tmp_path / "gone"
    assert text == f"Error: IN: expected a file or folder, found no '{gone}'; correct the path\n"
    assert not (tmp_path / "out").exists()


def test_a_call_without_an_image_names_the_option(tree, tmp_path):
    result = CliRunner().invoke(app, ["prepare", str(tree.dataset), str(tmp_path / "o"), "group"])
    assert result.exit_code == 1 and not (tmp_path / "o").exists()
    assert unstyle(result.stderr) == (
        "Error: --label-image: expected a label_image for input of kind 'fmriprep', found none; "
        "give the atlas as a NIfTI label image in the scans' space, or as a CIFTI dlabel\n"
    )


def test_people_whom_nobody_knows_are_told_and_leave_nothing(tree, tmp_path):
    known = sorted({subject.removeprefix("sub-") for subject, _, _ in tree.scans})
    result, _ = call(tree, tmp_path / "out", "--participant-label", known[0], "999")
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    assert unstyle(result.stderr) == (
        "Error: expected scans of everybody named, found none of 999; the labels that files have "
        f"are {', '.join(known)}\n"
    )


def test_a_site_file_of_somebody_else_stays(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "site.yaml").write_text("name: mine\n")
    result, _ = call(tree, out)
    assert result.exit_code == 1 and [path.name for path in out.iterdir()] == ["site.yaml"]
    assert unstyle(result.stderr) == (
        f"Error: expected '{out / 'site.yaml'}' as this call would write it, found another; go on "
        "with that file (brainjepa site prepare SITE.yaml), or give another OUT\n"
    )


@pytest.mark.usefixtures("no_pictures")
def test_the_version_of_a_scan_may_be_chosen(tree, tmp_path):
    for scan in tree.scans.values():
        for file in (scan.bold, scan.mask):
            copy = file.with_name(file.name.replace("_desc-", "_res-2_desc-"))
            copy.write_bytes(file.read_bytes())
    result, shown = call(tree, tmp_path / "out")
    assert result.exit_code == 1 and "0 scans in the store" in shown
    result, shown = call(tree, tmp_path / "chosen", "--res", "2", "--mask", "required")
    assert result.exit_code == 0 and "6 scans in the store" in shown
    chosen = read_settings(tmp_path / "chosen" / "site.yaml", SiteSettings).preparation().input
    assert chosen.res == "2"
