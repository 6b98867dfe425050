"""`brainjepa paint` as a researcher without scans calls it."""

from __future__ import annotations

import pytest
import typer
import yaml
from click import unstyle
from typer.testing import CliRunner

from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_simulations.commands.paint import paint

app = typer.Typer()
app.command()(paint)

COHORT = {"sites": 2, "subjects_per_site": 5, "rois": 12, "networks": 5, "frames": 40}
STUDY = {"name": "s", "floors": {"sites": 2}, "rounds": {"local_steps": 1, "quorum": 2}}


@pytest.fixture
def scenario(tmp_path):
    file = tmp_path / "scenario.yaml"
    study = {**STUDY, "pretraining": {"preset": "tiny"}}
    file.write_text(yaml.safe_dump({"cohort": COHORT, "study": study}))
    return file


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result, unstyle(result.output)


def test_sites_are_painted_with_their_first_people(tmp_path, scenario):
    out = tmp_path / "painted"
    result, shown = call("--out", out, "--scenario", scenario, "--sites", 2, "--subjects", 3)
    assert result.exit_code == 0, shown
    for name in ("site-01", "site-02"):
        assert f"{out / name / 'site.yaml'}: 3 people, " in shown
        settings = read_settings(out / name / "site.yaml", SiteSettings)
        assert settings.preparation().input.folder == out / name / "fmriprep"
        assert len(list((out / name / "fmriprep").glob("sub-*"))) == 3

    result, shown = call("--out", out, "--scenario", scenario, "--sites", 2)
    assert result.exit_code == 1
    assert "Error: expected no site-01 in the folder yet, found one; remove it, or paint" in shown


def test_the_demo_s_first_site_is_the_default(tmp_path):
    result, shown = call("--out", tmp_path, "--subjects", 1)
    assert result.exit_code == 0, shown
    assert "1 people" not in shown and "1 person, " in shown and "48 ROIs" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["brainjepa.log", "site-01"]


def test_more_sites_than_there_are(tmp_path):
    result, shown = call("--out", tmp_path, "--sites", 5)
    assert result.exit_code == 1 and not list(tmp_path.iterdir())
    assert "Error: expected a scenario with 5 synthetic sites, found 4 of them; choose" in shown
