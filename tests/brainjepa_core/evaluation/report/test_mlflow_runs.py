"""An evaluation in MLflow: a run a model, once, whatever happens to the server."""

from __future__ import annotations

import math

import pytest

from brainjepa_core.evaluation.report.mlflow_runs import DATABASE, URI, log_evaluation
from brainjepa_core.evaluation.scores.results import Results, Row


def row(model: str, metric: str, mean: float) -> Row:
    return Row(model, "age", "holdout", metric, mean, 0.1, mean - 0.2, mean + 0.2, 40)


RESULTS = Results(
    rows=(row("FC", "r", 0.4), row("FC", "mse within site", 0.9), row("probe", "r", math.nan))
)


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv(URI, raising=False)


def runs(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / DATABASE}")
    experiment = client.get_experiment_by_name("evaluate age")
    return client.search_runs([experiment.experiment_id])


def test_each_model_is_a_run_with_its_figures(tmp_path):
    page = tmp_path / "results.html"
    page.write_text("<html>")
    for _ in range(2):  # an evaluation that goes on logs again, and adds no run
        assert log_evaluation(tmp_path, RESULTS, {"protocol": "holdout"}, (page,))
        found = {run.info.run_name: run for run in runs(tmp_path)}
        assert sorted(found) == ["FC", "probe"] and len(runs(tmp_path)) == 2
        metrics = found["FC"].data.metrics
        assert metrics["r"] == 0.4 and metrics["r_low"] == pytest.approx(0.2)
        assert metrics["mse_within_site"] == 0.9 and found["probe"].data.metrics == {}
        assert found["FC"].data.params == {"protocol": "holdout"}
        assert found["FC"].info.status == "FINISHED"
    assert list((tmp_path / "mlartifacts").rglob("results.html"))


def test_a_server_that_is_away_costs_a_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(URI, "nowhere://127.0.0.1/mlflow")
    assert not log_evaluation(tmp_path, RESULTS, {})
    assert "expected MLflow to take the results, found" in caplog.text
    assert not (tmp_path / DATABASE).exists()
