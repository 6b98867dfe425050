"""A folder of runs that was moved or copied has its artifacts, and its models load."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

import brainjepa
from brainjepa_core.evaluation.pyfunc_model import write_pyfunc
from brainjepa_core.tracking.about import Data
from brainjepa_core.tracking.moved import follow
from brainjepa_core.tracking.tracker import ARTIFACTS, DATABASE, URI, Tracker

SIZES = {
    "width": 8, "heads": 1, "depth": 1, "patch": 4,
    "predictor_width": 8, "predictor_heads": 1, "predictor_depth": 1,
}  # fmt: skip
SETTINGS = {
    "model": SIZES,
    "windows": {"frames": 16},
    "basis": {"components": 2, "sparsity": 0.2},
    "training": {"batch_size": 2, "schedule": {"total_steps": 1}},
}


class Small(Tracker):
    def start(self) -> None:
        self._guard("start", self._start)

    def _start(self) -> None:
        run = self._begin("pilot", "first")
        self._describe(run, {"a": 1}, {}, "What it is.")


def series(people: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack(
        [rng.standard_normal((5, 3)) @ rng.standard_normal((3, 40)) for _ in range(people)]
    )


def machine_figures(run) -> list[str]:
    return [name for name in run.data.metrics if name.startswith("system/cpu")]


def _heard(tracker: Tracker) -> bool:
    """Whether the machine was looked at, and what was seen waits to be written."""
    return bool(tracker._monitor.mlflow_logger.data)


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "expected figures of the machine, found none in 120 s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Of one pretraining: its folder, and database and artifacts beside it."""
    home = tmp_path_factory.mktemp("home") / "runs"
    brainjepa.pretrain(list(series()), home / "first", SETTINGS, tr=2.0, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URI, raising=False)
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
        tracker = Small(home / "first")
        tracker.start()
        tracker.watch_machine()
        for _ in range(2):  # a run that goes on says it again
            tracker.log_data([Data("Lyon", "f" * 64, 120, None)])
        tracker.register_model("pilot", partial(write_pyfunc, home / "first" / "final"))
        until(lambda: machine_figures(client_of(home).get_run(tracker.run_id)) or _heard(tracker))
        tracker.finish()
        assert not tracker.failed
    return home


def client_of(runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{runs / DATABASE}")


def only_run(runs: Path):
    client = client_of(runs)
    experiment = client.get_experiment_by_name("pilot")
    (run,) = client.search_runs([experiment.experiment_id])
    return experiment, run


def prediction(runs: Path, monkeypatch) -> np.ndarray:
    monkeypatch.setenv(URI, f"sqlite:///{runs / DATABASE}")
    mlflow.set_tracking_uri(f"sqlite:///{runs / DATABASE}")
    try:
        return mlflow.pyfunc.load_model("models:/pilot/1").predict(series(), params={"tr": 2.0})
    finally:
        mlflow.set_tracking_uri(None)


def test_a_registered_model_predicts_embeddings_of_series(runs, monkeypatch):
    expected = brainjepa.load(runs / "first").embed(list(series()), 2.0)
    assert np.array_equal(prediction(runs, monkeypatch), expected)
    monkeypatch.setenv(URI, f"sqlite:///{runs / DATABASE}")
    info = mlflow.models.get_model_info("models:/pilot/1")
    assert info.signature.inputs.inputs[0].shape == (-1, 5, -1)
    assert info.signature.outputs.inputs[0].shape == (-1, expected.shape[1])
    assert {p.name: p.default for p in info.signature.params.params} == {
        "tr": 2.0, "pool": "latent_connectivity"
    }  # fmt: skip
    assert info.saved_input_example_info is not None and "code" not in info.flavors


def test_a_run_says_what_it_is_and_what_it_read(runs):
    experiment, run = only_run(runs)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert run.data.tags["mlflow.note.content"] == "What it is."
    assert run.data.tags["mlflow.source.name"] == "brainjepa"
    assert "mlflow.user" not in run.data.tags
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("Lyon", "f" * 36)
    assert '"people": 120, "scans": null' in read.dataset.profile
    assert machine_figures(run)


@pytest.mark.parametrize("change", [shutil.move, shutil.copytree])
def test_a_folder_that_was_moved_keeps_its_artifacts(runs, tmp_path, monkeypatch, change):
    there = tmp_path / "before"
    shutil.copytree(runs, there)
    follow(there / DATABASE, there / ARTIFACTS)
    change(there, tmp_path / "b #c")
    if there.exists():
        (there / ARTIFACTS).rename(there / "away")  # what a copy must not read
    moved = tmp_path / "b #c"
    tracker = Small(moved / "second")
    tracker.start()
    tracker.finish()
    client = client_of(moved)
    runs_there = client.search_runs([client.get_experiment_by_name("pilot").experiment_id])
    assert len(runs_there) == 2
    here = (moved / ARTIFACTS).as_uri()
    assert all(run.info.artifact_uri.startswith(f"{here}/") for run in runs_there)
    assert len(prediction(moved, monkeypatch)) == 3


def test_addresses_of_a_server_stay(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    client = client_of(tmp_path / "runs")
    other = client.create_experiment("other", artifact_location="s3://bucket/mlartifacts")
    follow(tmp_path / "runs" / DATABASE, tmp_path / "runs" / ARTIFACTS)
    found = client_of(tmp_path / "runs").get_experiment(other)
    assert found.artifact_location == "s3://bucket/mlartifacts"
    follow(tmp_path / "nothing.db", tmp_path)
    assert not (tmp_path / "nothing.db").exists()
