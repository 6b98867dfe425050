"""An evaluation in MLflow: a run a model, once, whatever happens to the server."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest

from brainjepa_core.evaluation.report.mlflow_runs import RUNS, log_evaluation
from brainjepa_core.evaluation.scores.results import Comparison, Results, Row
from brainjepa_core.origin import digest
from brainjepa_core.tracking.tracker import DATABASE, URI


def row(model: str, metric: str, mean: float) -> Row:
    return Row(model, "age", "holdout", metric, mean, 0.1, mean - 0.2, mean + 0.2, 40)


RESULTS = Results(
    rows=(row("FC", "r", 0.4), row("FC", "mse within site", 0.9), row("probe", "r", math.nan))
)


ORIGIN = {"scans": "s1", "phenotypes": "p1", "task": {"name": "age"}}


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv(URI, raising=False)


@pytest.fixture
def folder(tmp_path):
    """Of an evaluation: the database lies beside it."""
    (tmp_path / "eval").mkdir()
    return tmp_path / "eval"


def runs(folder, database=DATABASE):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / database}")
    experiment = client.get_experiment_by_name("evaluate age")
    return client.search_runs([experiment.experiment_id])


def test_each_model_is_a_run_with_its_figures(folder, tmp_path):
    page = folder / "results.html"
    page.write_text("<html>")
    for _ in range(2):  # an evaluation that goes on logs again, and adds no run
        assert log_evaluation(folder, RESULTS, {"protocol": "holdout"}, ORIGIN, (page,))
        found = {run.info.run_name: run for run in runs(folder)}
        assert sorted(found) == ["FC", "probe"] and len(runs(folder)) == 2
        metrics = found["FC"].data.metrics
        assert metrics["r"] == 0.4 and metrics["r_low"] == pytest.approx(0.2)
        assert metrics["mse_within_site"] == 0.9 and found["probe"].data.metrics == {}
        assert found["FC"].data.params == {"protocol": "holdout"}
        assert found["FC"].info.status == "FINISHED"
    assert list((tmp_path / "mlartifacts").rglob("results.html"))


def test_a_run_has_what_its_model_has_above_connectivity_and_random_weights(folder):
    def less(model: str, against: str, metric: str, value: float) -> Comparison:
        ends = value - 0.1, value + 0.1
        return Comparison(model, against, "age", "holdout", metric, value, *ends, 0.2, 0.3)

    told = replace(
        RESULTS,
        comparisons=(
            less("probe", "FC", "r", 0.05),
            less("probe", "FC", "mse within site", -0.2),
            less("probe", "random weights: probe", "r", 0.3),
            replace(less("FC", "random weights: probe", "mae", 2.0), high=math.nan),
        ),
    )
    assert log_evaluation(folder, told, {}, ORIGIN, reference="FC")
    found = {run.info.run_name: run.data.metrics for run in runs(folder)}
    assert found["probe"] == pytest.approx(
        {
            "r_above_connectivity": 0.05,
            "r_above_connectivity_low": -0.05,
            "r_above_connectivity_high": 0.15,
            "mse_within_site_above_connectivity": -0.2,
            "mse_within_site_above_connectivity_low": -0.3,
            "mse_within_site_above_connectivity_high": -0.1,
            "r_above_random_weights": 0.3,
            "r_above_random_weights_low": 0.2,
            "r_above_random_weights_high": 0.4,
        }
    )
    assert found["FC"]["mae_above_random_weights"] == 2.0
    assert "mae_above_random_weights_high" not in found["FC"]


def test_runs_say_what_they_were_made_from(folder):
    """Runs of other data in one database are told apart, and equal ones are found."""

    def tags() -> dict[str, str]:
        run = next(run for run in runs(folder) if run.info.run_name == "FC")
        return {k: v for k, v in run.data.tags.items() if k.startswith("made from")}

    assert log_evaluation(folder, RESULTS, {}, ORIGIN)
    first = tags()
    assert (first["made from scans"], first["made from phenotypes"]) == ("s1", "p1")
    assert first["made from"] == digest(ORIGIN)
    assert log_evaluation(folder, RESULTS, {}, {**ORIGIN, "task": {"name": "age", "unit": "m"}})
    assert tags()["made from"] != first["made from"]


def test_a_server_that_is_away_costs_a_line(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(URI, "nowhere://127.0.0.1/mlflow")
    assert not log_evaluation(folder, RESULTS, {}, {})
    assert "expected MLflow to take the results, found" in caplog.text
    assert not (tmp_path / DATABASE).exists()


def test_runs_of_others_are_left_alone(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(URI, f"sqlite:///{tmp_path / 'shared.db'}")
    first, second, copied = (tmp_path / part / "eval" for part in "abc")
    assert log_evaluation(first, RESULTS, {"of": "a"}, {})
    assert log_evaluation(second, RESULTS, {"of": "b"}, {})  # folders of one name, one experiment
    shutil.copytree(first, copied)
    assert log_evaluation(copied, RESULTS, {"of": "c"}, {})
    before = {run.info.run_id: run.data.params["of"] for run in runs(tmp_path / "any", "shared.db")}
    assert sorted(before.values()) == ["a", "a", "b", "b", "c", "c"]
    assert log_evaluation(first, RESULTS, {"of": "a"}, {})
    after = {run.info.run_id: run.data.params["of"] for run in runs(tmp_path / "any", "shared.db")}
    assert sorted(after.values()) == sorted(before.values())
    assert {before[run] for run in before.keys() - after.keys()} == {"a"}


@pytest.mark.parametrize("content", ["", "[]", '{"folder": 1, "runs": {"a": 2}}'])
def test_a_damaged_list_of_runs_adds_some(folder, content):
    assert log_evaluation(folder, RESULTS, {}, {})
    (folder / RUNS).write_text(content)
    assert log_evaluation(folder, RESULTS, {}, {}) and len(runs(folder)) == 4


def test_a_run_that_somebody_deleted_is_made_anew(folder, tmp_path):
    from mlflow import MlflowClient

    assert log_evaluation(folder, RESULTS, {}, {})
    MlflowClient(f"sqlite:///{tmp_path / DATABASE}").delete_run(runs(folder)[0].info.run_id)
    assert log_evaluation(folder, RESULTS, {}, {}) and len(runs(folder)) == 2


@pytest.mark.parametrize("name", ["a 1#b%20", "a?c=1"])
def test_folders_may_have_any_name(tmp_path, name):
    folder = tmp_path / name / "eval"
    folder.mkdir(parents=True)
    (folder / "page.html").write_text("<html>")
    assert log_evaluation(folder, RESULTS, {}, {}, (folder / "page.html",))
    home = folder.parent
    assert (home / DATABASE).exists() and [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list((home / "mlartifacts").rglob("page.html"))) == 2
