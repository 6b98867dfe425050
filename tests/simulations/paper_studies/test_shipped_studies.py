"""Every shipped study by its command, small, on made-up people: its page, its table, its cache."""

from __future__ import annotations

import csv
import json
import re

import pytest
import torch
from click import unstyle
from small_consortium import in_this_process_alone
from small_studies import small
from typer.testing import CliRunner

from brainjepa import command
from brainjepa_simulations.baselines import compare as compare_module
from brainjepa_simulations.paper_studies import running
from brainjepa_simulations.paper_studies.found import Found
from brainjepa_simulations.paper_studies.settings import shipped_studies

CHANGES = {
    "consortium": {
        "consortium": {
            "policy": {
                "min_subjects": 3,
                "min_people_in_sum": 1,
                "min_people_a_feature": 0,
                "round_counts_to": 1,
            },
            "study": {
                "floors": {"sites": 2, "subjects_per_site": 3, "subjects": 10},
                "rounds": {"local_steps": 3},
            },
        },
        "tasks": ["age"],
    },
    "finetuning": {"finetune": {"steps": 2, "evaluate_every": 1}, "tasks": ["diagnosis"]},
    "masks": {"pretraining": {"windows": {"frames": 96}}, "tasks": ["age"]},
    "positions": {
        "variants": {
            "30 gradients": {"pretraining": {"basis": {"components": 8}}},
            "3 gradients": {"pretraining": {"basis": {"components": 3}}},
            "sines of the index": {"pretraining": {"basis": {"components": 8}}},
        },
        "tasks": ["age"],
    },
    "size": {
        "pretraining": {"model": {}},
        "variants": {name: {"pretraining": {"model": {"depth": 1}}} for name in ("small", "base")},
        "tasks": ["age"],
    },
    "objective": {"tasks": ["age"]},
    "fusion": {"tasks": ["age"]},
    "transfer": {"tasks": ["age"]},
    "ancestries": {"tasks": ["diagnosis"], "cohort": {"subjects_per_site": 24}},
}


def call(*arguments):
    result = CliRunner().invoke(command(), ["simulate", "study", *map(str, arguments)])
    return result, " ".join(unstyle(result.stdout).split())


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(compare_module, "in_order", in_this_process_alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_a_shipped_study_ends_with_a_page_and_a_table(name, tmp_path):
    file, out = small(name, tmp_path, **CHANGES.get(name, {})), tmp_path / "out"
    result, shown = call(file, "--out", out, "--minutes", "1")
    assert result.exit_code == 0, result.output
    assert "Page:" in shown
    page = (out / "study.html").read_text()
    assert "The paper&#39;s own numbers" in page or "The paper's own numbers" in page
    assert "made up" in page and "data:image/png" in page
    rows = list(csv.DictReader((out / "table.tsv").open(), delimiter="\t"))
    assert rows and all(None not in row and None not in row.values() for row in rows)
    assert "million parameters" in page  # what each model is
    if name != "attention":
        assert any(row["model"].startswith("FC correlation + SV") for row in rows)

    again, _ = call(file, "--out", out, "--minutes", "1")  # all of it is kept
    assert again.exit_code == 0, again.output
    assert list(csv.DictReader((out / "table.tsv").open(), delimiter="\t")) == rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["share", "transfer", "consortium"])
def test_what_costs_too_much_is_left_out_and_told(name, tmp_path):
    file, out = small(name, tmp_path, **CHANGES.get(name, {})), tmp_path / "out"
    result, _ = call(file, "--out", out, "--minutes", "0")
    assert result.exit_code == 1
    assert unstyle(result.stderr).startswith(
        "Error: expected a model that takes at most 0 minutes, found none; give more --minutes"
    )


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["consortium", "finetuning"])
def test_a_study_on_a_gpu(name, tmp_path):
    file, out = small(name, tmp_path, **CHANGES[name]), tmp_path / "out"
    result, _ = call(file, "--device", "cuda", "--out", out)
    assert result.exit_code == 0, result.output
    assert (out / "study.html").exists() and torch.cuda.max_memory_allocated() > 0


def test_a_program_reads_all_that_was_found(tmp_path, monkeypatch):
    rows = (("block", "from", "to"), ("1", "Vis", "Def"))
    found = Found(sizes=(("JEPA", "3 steps"),), table=rows, notes=("6 people looked at",))
    page = tmp_path / "out" / "study.html"
    monkeypatch.setattr(running, "run_paper_study", lambda *_, say: (found, page))
    result, _ = call("attention", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "asked": [],
        "table": [list(row) for row in rows],
        "sizes": [["JEPA", "3 steps"]],
        "notes": ["6 people looked at"],
        "page": str(page),
    }


def test_alone_the_command_lists_the_studies():
    result, shown = call()
    assert result.exit_code == 0
    names = "size share positions masks objective finetuning attention transfer ancestries"
    asked = {f"{name}:" for name in (*names.split(), "fusion", "consortium")}
    assert asked <= set(re.findall(r"\w+:", shown))


def test_a_name_that_is_none(tmp_path):
    result, _ = call("mask", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "found 'mask'; did you mean masks?" in unstyle(result.stderr)
