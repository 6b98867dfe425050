"""The table of families: its cells go on where they were stopped, and hold nothing of a person."""

from __future__ import annotations

import csv
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from shared_data import shared
from sklearn.metrics import roc_auc_score

from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.resampling import mean_score
from brainjepa_core.evaluation.tasks.protocols import splits_of
from brainjepa_core.evaluation.tasks.task_data import task_data

LEARNING = Path(__file__).parents[2] / "benchmarks" / "learning"
PARTS = ("page", "people", "rows", "volumes")
MODULES = ("families", *(f"every_family.{part}" for part in PARTS))


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The benchmark's modules by their last word; cells are kept in a folder of the test."""
    monkeypatch.syspath_prepend(LEARNING)
    found = {name.split(".")[-1]: importlib.import_module(name) for name in MODULES}
    monkeypatch.setattr(found["families"], "CELLS", tmp_path / "cells")
    yield SimpleNamespace(**found)
    for name in MODULES:
        del sys.modules[name]


@pytest.fixture
def few(bench, monkeypatch):
    """Fewer synthetic people."""
    sizes = {"subjects_per_site": 16, "rois": 40, "frames": 70}
    cohort = bench.people.COHORT.model_copy(update=sizes)
    monkeypatch.setattr(bench.people, "COHORT", cohort)
    return bench


def hospitals(folder: Path, people: int = 14) -> tuple[list[Path], Path]:
    """Two data sets of three hospitals, and a table of Brainmarks that has most of their people."""
    rng, rows, sources = np.random.default_rng(0), [], []
    for number in range(2):
        source = folder / f"set{number}"
        source.mkdir(parents=True)
        lines = ["participant_id\tdiagnosis\tmean_fd\tage\tsex"]
        for s, site in enumerate(("KKI", "NYU", "USM")):
            ids = [5000 + 100 * number + 30 * s + i for i in range(people)]
            series = rng.standard_normal((people * 80, 310)).astype(np.float16)
            np.savez(source / f"{site}.npz", ts=series, lengths=np.full(people, 80), tr=2.0,
                     participant_id=[f"{site}_{i:07}" for i in ids],
                     roi=[f"roi{i}" for i in range(310)])  # fmt: skip
            for k, i in enumerate(ids):
                lines.append(f"{site}_{i:07}\t{('ASD', 'TC')[k % 2]}\t0.{k + 1}\t{20 + k}\tM")
                if k > 1:
                    rows.append((("train", "validation", "test")[k % 3], f"{i:07}"))
        (source / "participants.tsv").write_text("\n".join(lines) + "\n")
        sources.append(source)
    table = folder / "ABIDE_curated.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("split", "sub"), *rows])
    return sources, table


def test_every_cell_has_a_file_of_its_own(bench):
    cells = list(bench.families.cells())
    assert len({cell.file for cell in cells}) == len(cells)
    assert {cell.table for cell in cells} == bench.page.SECTIONS.keys()
    groups = {cell.group for cell in cells if cell.table == "hospitals"}
    for table in ("split", "brainmarks"):
        assert {cell.group for cell in cells if cell.table == table} == groups
    asked = {*bench.rows.SUPERVISED, *bench.rows.CHOSEN}
    assert asked <= groups and len(groups) == 4 + len(asked) + 2 * len(bench.rows.PRETRAINED)


def test_figures_are_scikit_learns(few, tmp_path):
    windows = few.people.synthetic_people(tmp_path)
    world = few.rows.World(windows, tmp_path / "cache")
    told = few.rows.measured(world, "synthetic", "FC correlation")
    task, protocol = few.rows.question_of("synthetic", False)
    data = task_data(task, windows)
    expected = {}
    for method in few.rows.methods_of(world, data, "FC correlation"):
        scores = np.full((len(data), 2), np.nan)
        for split in splits_of(protocol, data):
            scores[split.test] = method.predict(data, split)
        expected[method.name] = roc_auc_score(data.target, scores[:, 1] - scores[:, 0])
    assert expected.keys() == told["rows"].keys() and few.rows.REFERENCE in expected
    for name, row in told["rows"].items():
        found = row["auc"]
        assert found["mean"] == pytest.approx(expected[name], abs=6e-5)
        above = expected[name] - expected[few.rows.REFERENCE]
        assert found["above"] == pytest.approx(above, abs=1.1e-4)
        assert found["low"] < found["mean"] < found["high"]
        assert found["least"] <= found["above"] <= found["most"]
        assert row["weights"] == 40 * 39 // 2 + 1
    assert told["people"] == 48 and told["splits"] == 5 and told["weights"] is None


@pytest.mark.slow
def test_a_trained_network_is_counted_with_its_pretraining(few, tmp_path, monkeypatch):
    monkeypatch.setattr(few.rows, "STEPS", 3)
    world = few.rows.World(few.people.synthetic_people(tmp_path), tmp_path / "cache")
    before, after = (few.rows.measured(world, "synthetic", f"csm, {s}") for s in few.rows.STATES)
    for state, told in zip(few.rows.STATES, (before, after), strict=True):
        assert list(told["rows"]) == [f"csm, {state}: probe", f"csm, {state}: published probe"]
        assert told["weights"] == few.rows.count(world.model("csm, untrained")[0].embedder)
    assert world.model("csm, untrained")[1] < world.model("csm, pretrained")[1]
    weights = [world.model(f"csm, {s}")[0].state_dict() for s in few.rows.STATES]
    assert any(not weights[0][name].equal(value) for name, value in weights[1].items())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_connectivity_tells_diagnosis_of_all_people_as_it_should(bench, tmp_path):
    """687 people, each hospital told by the others; people of Brainmarks in its own parts."""
    sources = [shared("data", name) for name in ("abide", "abide_extra")]
    table = shared("data", "brainmarks") / "ABIDE_curated.csv"
    windows = bench.people.abide_people(sources, table, tmp_path, "310")
    task, protocol = bench.rows.question_of("hospitals", False)
    data = task_data(task, windows)
    splits = splits_of(protocol, data)
    assert len(data) == 687 and len(splits) == 12
    rows = bench.rows.methods_of(bench.rows.World(windows, tmp_path), data, "FC correlation")
    svm = [row for row in rows if row.name == bench.rows.REFERENCE]
    (predictions,) = predict_all(svm, data, splits)
    assert mean_score(data, predictions, "auc") == pytest.approx(0.746, abs=0.015)
    task, protocol = bench.rows.question_of("split", False)
    data = task_data(task, windows)
    (split,) = splits_of(protocol, data)
    assert len(data) == 657 and len(split.test) == 86


def test_brainmarks_people_are_those_of_its_table(bench, tmp_path):
    sources, table = hospitals(tmp_path / "data")
    windows = bench.people.abide_people(sources, table, tmp_path / "work", "110")
    assert windows.subjects == 84 and windows.atlas.rois[0] == "roi200"
    everybody, protocol = bench.rows.question_of("hospitals", False)
    assert len(task_data(everybody, windows)) == 84 and protocol.kind == "leave_one_site_out"
    both, protocol = bench.rows.question_of("split", False)
    data = task_data(both, windows)
    (split,) = splits_of(protocol, data)
    assert len(data) == 72 == sum(map(len, (split.train, split.validation, split.test)))
    parts = {facts[bench.people.SPLIT] for facts in (data.facts[row] for row in split.test)}
    assert parts == {"test"}
    assert [bench.rows.question_of("brainmarks", dear)[1].seeds for dear in (False, True)] == [
        100, bench.rows.DEAR_SPLITS,
    ]  # fmt: skip


def test_the_command_goes_on_where_it_was_stopped(bench, few, tmp_path, monkeypatch, capsys):
    made = []

    def measured(world, table, group):
        made.append((table, group))
        return {"people": 3, "splits": 1, "seconds": 2, "weights": None, "rows": {}}

    monkeypatch.setattr(bench.families, "measured", measured)
    bench.families.CELLS.mkdir()
    asked = ((), tmp_path / "none.csv")
    bench.families.fill(*asked, minutes=-1, only="synthetic")
    assert made == [] and "cells are left; call again" in capsys.readouterr().out
    first = next(c for c in bench.families.cells() if c.table == "synthetic")
    first.file.write_text(json.dumps({"people": 1}))
    bench.families.fill(*asked, minutes=5, only="synthetic")
    cells = [c for c in bench.families.cells() if c.table == "synthetic"]
    assert made == [(c.table, c.group) for c in cells if c != first]
    bench.families.fill(*asked, minutes=5, only="synthetic")
    assert len(made) == len(cells) - 1


def test_the_page_says_what_was_not_measured(bench):
    figure = {"mean": 0.7123, "low": 0.6745, "high": 0.7504, "sd": 0.1, "above": 0.0207,
              "least": -0.0032, "most": 0.0452}  # fmt: skip
    row = {"auc": figure, "auc within site": figure, "weights": 5996}
    figures = {"people": 687, "splits": 12, "seconds": 16, "weights": 123,
               "rows": {"FC tangent + SVM": row}}  # fmt: skip
    page = bench.page.page(
        [("hospitals", "tangent", "110", figures), ("hospitals", "braingnn", "110", None)]
    )
    assert (
        "| FC tangent + SVM | 110 | 687 | 0.712 (0.674 to 0.750) | 0.712 (0.674 to 0.750) | "
        "+0.021 (-0.003 to +0.045) | 123 + 5,996 | 16 |"
    ) in page
    assert "| braingnn | 110 | not measured yet |" in page


def test_kept_cells_hold_nothing_of_a_person():
    """Figures of groups alone: no list is as long as there are people."""
    files = sorted((LEARNING / "families").glob("*.json"))
    assert files
    for file in files:
        told = json.loads(file.read_text())
        assert told.keys() == {"people", "splits", "seconds", "pretraining", "weights", "rows"}
        for row in told["rows"].values():
            assert row.keys() <= {"auc", "auc within site", "balanced accuracy", "weights"}
            numbers = [
                n for name, value in row.items() if name != "weights" for n in value.values()
            ]
            assert all(isinstance(n, float) for n in numbers) and len(numbers) <= 21
