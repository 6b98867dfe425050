"""A task asked of a simulated study's sites, through messages."""

from __future__ import annotations

import json

import pytest
import yaml
from click import unstyle
from small_consortium import plan
from typer.testing import CliRunner

from brainjepa import command


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of two small sites."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(plan(2, 6, cohort={"subjects_per_site": 24})))
    out = folder / "run"
    result = CliRunner().invoke(command(), ["simulate", str(file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


def ask(study, *words):
    result = CliRunner().invoke(command(), ["evaluate-sites", str(study), *words])
    return result, " ".join(unstyle(result.output).split())


def test_sites_answer_and_a_common_probe_is_made(study):
    result, shown = ask(study, "--task", "age")
    assert result.exit_code == 0, result.output
    assert "federated ridge probe" in shown
    assert "MAE (years)" in shown and "MSE (years²)" in shown
    assert "No intervals over people are known: their values stay at their sites." in shown
    content = json.loads((study / "task-age.json").read_text())
    assert set(content["sites"]) == {"site-01", "site-02"}
    assert {row["task"] for row in content["rows"]} == {"age"}
    assert content["made_from"]["model"] == "final" and content["made_from"]["weights"]
    assert content["made_from"]["task"]["column"] == "age"
    assert content["units"] == {"r": "", "r2": "", "mae": "years"}
    (matrix,) = content["matrices"].values()
    assert "probe of site-01" in matrix["reasons"]  # probes leave only where share_probe says so


def test_a_task_that_nobody_can_answer_says_why(study, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text(yaml.safe_dump({"name": "iq", "column": "fiq", "kind": "regression"}))
    result, shown = ask(study, "--task", str(task))
    assert result.exit_code == 0, result.output
    assert "scores: site-01 left out" in shown
    assert json.loads((study / "task-iq.json").read_text())["rows"] == []


def test_a_folder_that_is_no_study(tmp_path):
    result, shown = ask(tmp_path, "--task", "age")
    assert result.exit_code == 1
    assert "expected the folder of a simulated study with its sites, found none" in shown
