"""The page of the paper's studies: every study is on it, with what was told and why it was not."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path

import pytest

from brainjepa_core.command.terminal import print_json
from brainjepa_core.evaluation.scores.results import Comparison, Row
from brainjepa_simulations.paper_studies.found import Asked, Found
from brainjepa_simulations.paper_studies.settings import shipped_studies

LEARNING = Path(__file__).parents[2] / "benchmarks" / "learning"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(LEARNING)
    module = importlib.import_module("paper_studies")
    monkeypatch.setattr(module, "CELLS", tmp_path / "cells")
    monkeypatch.setattr(module, "PAGE", tmp_path / "studies.md")
    yield module
    for name in ("paper_studies", "paper_studies_page"):
        del sys.modules[name]


def found() -> Found:
    told = {"task": "age", "protocol": "kfold", "metric": "r", "sd": 0.1, "low": 0.4, "high": 0.6}
    rows = (
        Row(model="FC correlation + SVR", mean=0.5, n=90, **told),
        Row(model="balanced: probe", mean=0.525, n=90, **told),
        Row(model="official: probe", mean=math.nan, n=90, **told),
        Row(model="random weights: probe", mean=0.51, n=90, **told),
    )
    less = Comparison(
        model="official: probe", against="balanced: probe", task="age", protocol="kfold",
        metric="r", difference=-0.01, low=-0.02, high=0.001, p=0.5, p_holm=0.5,
    )  # fmt: skip
    models = ("balanced: probe", "official: probe")
    asked = Asked("age", ("r",), rows, "FC correlation + SVR", models, (less,))
    return Found((asked,), (("balanced", "0.5 million parameters"),))


def test_studies_are_run_once_and_the_page_tells_each(bench, tmp_path, monkeypatch, capsys):
    asked_for = []

    def run(name, stores, folder, minutes):
        asked_for.append(name)
        print_json(found().plain(tmp_path / "page.html"))
        told = json.loads(capsys.readouterr().out)
        del told["page"]
        return {**told, "seconds": 1234}

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(bench, "stores_of", lambda *_: tmp_path)
    monkeypatch.setattr(sys, "argv", ["paper_studies.py", "--only", "masks"])
    bench.main()
    bench.main()
    assert asked_for == ["masks"]
    page = (tmp_path / "studies.md").read_text()
    assert page.count("\n## ") == len(shipped_studies())
    assert "| balanced: probe | 0.525 (0.400 to 0.600) |  |" in page
    assert "| official: probe |  | -0.010 (-0.020 to +0.001) |" in page
    assert "| random weights: probe | 0.510 (0.400 to 0.600) |  |" in page
    assert "- balanced: 0.5 million parameters.\n" in page and "1,234 seconds" in page
    assert page.count("Not on ABIDE: the study needs ") == len(bench.NOT_HERE)
    assert page.count("Not run yet.") == len(shipped_studies()) - len(bench.NOT_HERE) - 1


def test_what_is_compared_with_nothing_has_no_column_for_it(bench):
    one = {
        "title": "age",
        "metrics": [],
        "rows": [{"model": "a", "metric": "r"}],
        "differences": [],
    }
    assert sys.modules["paper_studies_page"]._asked(one) == "| age |\n| --- |\n| a |\n"
