"""MLflow gets what a study records, and never stands in its way."""

from __future__ import annotations

import logging
import math
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from brainjepa_core.tracking.tracker import DATABASE, RUN_ID, WATCH_SECONDS
from brainjepa_server.record.history import (
    RoundRecord,
    RunHistory,
    SiteRecord,
    YardstickRow,
    write_history,
)
from brainjepa_server.record.tracking import BASELINE_OF, StudyTracker, round_metrics
from brainjepa_server.reporting.pages import write_pages

SETTINGS = {"study": {"preset": "tiny", "long": "x" * 9000}, "floors": {"sites": 3}}


def record(number: int, loss: float = 0.5) -> RoundRecord:
    site = SiteRecord(loss=loss, share=2, steps=5, drift=math.nan, metrics={"rank": 4.0})
    row = YardstickRow(model="federated", pool="mean + second order", outcome="latents", r2=0.25)
    return RoundRecord(number=number, seconds=3.0, sites={"site-01": site}, yardstick=[row])


@pytest.fixture(autouse=True)
def no_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)


def everything(tracker: StudyTracker, folder: Path) -> None:
    (folder / "final").mkdir(exist_ok=True)
    (folder / "final" / "model.json").write_text("{}")
    tracker.start("pilot", SETTINGS, {"torch": "2.8"})
    tracker.log_round(record(1))
    tracker.log_figure(Figure(), "losses")
    tracker.log_file(folder / "final" / "model.json")
    tracker.register_model("pilot", partial(shutil.copytree, folder / "final"))
    tracker.finish()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a study: the database lies beside it."""
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


def client_of(tracker: StudyTracker) -> Any:
    return tracker._client


def test_a_study_that_crashes_and_is_resumed(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = StudyTracker(folder)
    run_id = first.start("pilot", SETTINGS, {"torch": "2.8"})
    first.log_round(record(1))
    first.log_round(record(2, loss=0.4))  # lost: the checkpoint after it was not written
    assert (tmp_path / DATABASE).exists() and (folder / RUN_ID).read_text().strip() == run_id

    second = StudyTracker(folder)
    changed = SETTINGS | {"floors": {"sites": 5}, "new": 1}
    assert second.start("pilot", changed, {"torch": "2.9"}) == run_id
    client = client_of(second)
    assert client.get_run(run_id).info.status == "RUNNING"
    second.log_round(record(1))
    second.log_round(record(2, loss=0.3))
    second.log_round(record(2, loss=0.3))
    everything(second, folder)  # starts, and logs round 1, once more
    second.register_model("pilot", partial(shutil.copytree, folder / "final"))

    losses = [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")]
    assert losses == [(1, 0.5), (2, 0.4), (2, 0.3)]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 0.3
    assert run.data.params["floors.sites"] == "3" and run.data.params["new"] == "1"
    assert run.data.params["study.long"] == "x" * 497 + "..."
    assert run.data.tags["torch"] == "2.8"
    assert run.data.metrics["yardstick/mean _ second order/latents"] == 0.25
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert {f.path for f in client.list_artifacts(run_id)} == {"figures", "model", "model.json"}
    assert (tmp_path / "mlartifacts" / run_id / "artifacts" / "model" / "model.json").exists()
    (version,) = client.search_model_versions("name = 'pilot'")
    assert version.run_id == run_id and version.source.endswith("/artifacts/model")
    assert caplog.records == []


def test_another_database_gets_a_new_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = "0" * 32
    (folder / RUN_ID).write_text(lost + "\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    run_id = StudyTracker(folder).start("pilot", SETTINGS)
    assert run_id not in (None, lost) and (folder / RUN_ID).read_text() == f"{run_id}\n"
    assert not (tmp_path / DATABASE).exists() and caplog.records == []


def test_environment_wins(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = []

    def client(uri: str) -> Any:
        uris.append(uri)
        raise OSError

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    StudyTracker(folder, client).start("pilot", {})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    StudyTracker(folder, client).start("pilot", {})
    assert uris == ["sqlite:///elsewhere.db", f"sqlite:///{tmp_path.resolve()}/mlflow.db"]


class Broken:
    """Raises in every method, from the `working`-th call on."""

    def __init__(self, working: int = 0) -> None:
        self.working, self.calls = working, 0

    def __getattr__(self, name: str) -> Any:
        def method(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls > self.working:
                raise RuntimeError("lost http://me:secret@host/api")
            return _Answer()

        return method


class _Answer:
    """A run, an experiment, or whatever is asked."""

    run_id = experiment_id = "1"
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}

    @property
    def info(self) -> _Answer:
        return self

    data = info


@pytest.mark.parametrize("working", range(9))
def test_a_client_that_breaks_is_named_once(
    folder: Path, caplog: pytest.LogCaptureFixture, working: int
) -> None:
    with caplog.at_level(logging.WARNING):
        everything(StudyTracker(folder, lambda uri: Broken(working)), folder)
    (warning,) = [r.getMessage() for r in caplog.records]
    assert warning.startswith("MLflow could not ")
    assert "(RuntimeError: lost http://host/api); training goes on" in warning
    assert "Check mlflow.db" in warning and "secret" not in warning


def test_nothing_is_asked_of_a_client_that_never_began(folder: Path) -> None:
    broken = Broken()
    everything(StudyTracker(folder, lambda uri: broken), folder)
    assert broken.calls == 1


def test_a_server_that_cannot_be_reached(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:  # bound, never listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        tracker = StudyTracker(folder)
        everything(tracker, folder)
    assert tracker.run_id is None
    ours = [r.getMessage() for r in caplog.records if r.name == "brainjepa_core.tracking.tracker"]
    assert len(ours) == 1 and "Check the server of MLFLOW_TRACKING_URI" in ours[0]


def test_numbers_of_a_round() -> None:
    found = round_metrics(record(1))
    assert list(found)[-1] == "loss" and found["sites/rank/median"] == 4.0
    assert "sites/drift/median" not in found and all(map(math.isfinite, found.values()))


def of_sites(count: int) -> RoundRecord:
    """A round in which site i has loss i and its own signs of collapse."""
    replies = {
        f"site-{i:03d}": SiteRecord(loss=i, norm=None if i == 1 else i, metrics={"rank": -i})
        for i in range(1, count + 1)
    }
    return record(1).model_copy(update={"sites": replies})


def test_what_sites_told_comes_as_quantities_over_them() -> None:
    found = round_metrics(of_sites(200))
    for name, expected in (
        ("loss", (100.5, 1, 200)),
        ("rank", (-100.5, -200, -1)),
        ("norm", (101, 2, 200)),  # which is not known of one site
    ):
        which = (f"sites/{name}/{word}" for word in ("median", "lowest", "highest"))
        assert tuple(found[key] for key in which) == expected


class Counting:
    """Counts what it is asked, and how many numbers it is given."""

    def __init__(self) -> None:
        self.calls = self.numbers = 0

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        self.calls += 1
        self.numbers += len(metrics)


def test_a_round_costs_the_same_however_many_sites() -> None:
    found = set()
    for sites in (10, 50, 200, 500):
        tracker, client = StudyTracker("unused"), Counting()
        tracker.run_id, tracker._client = "run", client
        tracker.log_round(of_sites(sites))
        assert not tracker.failed
        found.add((client.calls, client.numbers))
    assert len(found) == 1 and found.pop()[0] == 1


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_each_sites_figures_are_in_a_file_of_the_run_however_it_ends(
    folder: Path, tmp_path: Path, status: str
) -> None:
    history = RunHistory(name="pilot")
    write_history(folder, history.with_round(of_sites(3)))
    tracker = StudyTracker(folder)
    run_id = tracker.start("pilot", SETTINGS)
    tracker.finish(status)
    client = client_of(tracker)
    assert {f.path for f in client.list_artifacts(run_id)} == {"summary.json", "rounds.jsonl"}
    kept = tmp_path / "mlartifacts" / str(run_id) / "artifacts" / "rounds.jsonl"
    assert kept.read_bytes() == (folder / "rounds.jsonl").read_bytes()
    assert client.get_run(run_id).info.status == status and not tracker.failed


def test_baselines_are_logged_once_and_anew_where_they_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def history(r2: float) -> RunHistory:
        values = {"random weights": 0.1, "site-01 alone": r2, "pooled": 0.4}
        rows = [YardstickRow(model=m, pool="mean", outcome="o", r2=v) for m, v in values.items()]
        return RunHistory(name="pilot", baselines=tuple(rows))

    first = StudyTracker(folder)
    study = first.start("pilot", SETTINGS)
    first.log_baselines(history(0.2))
    first.finish()
    client = client_of(first)
    search = type(client).search_runs
    short_pages = lambda self, *a, **more: search(self, *a, **more, max_results=1)  # noqa: E731
    monkeypatch.setattr(type(client), "search_runs", short_pages)
    for r2 in (0.2, 0.2, 0.3):
        StudyTracker(folder).log_baselines(history(r2))
    monkeypatch.undo()
    (experiment,) = (e for e in client.search_experiments() if e.name == "pilot")
    beside = f"tags.`{BASELINE_OF}` = '{study}'"
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id], beside)}
    assert len(client.search_runs([experiment.experiment_id])) == 4
    values = {
        name: [m.value for m in client.get_metric_history(r.info.run_id, "yardstick/mean/o")]
        for name, r in runs.items()
    }
    assert values == {"random weights": [0.1], "site-01 alone": [0.2, 0.3], "pooled": [0.4]}


def test_a_study_that_was_copied_alone_gets_no_database(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / RUN_ID).write_text("0" * 32)
    row = YardstickRow(model="pooled", pool="mean", outcome="o", r2=0.1)
    write_history(folder, RunHistory(name="pilot", baselines=(row,)))
    write_pages(folder)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name] and caplog.records == []


def test_the_machine_is_looked_at_each_minute(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", raising=False)
    tracker = StudyTracker(folder)
    tracker.start("pilot", SETTINGS)
    assert tracker._monitor.sampling_interval == WATCH_SECONDS == 60
    tracker.finish()


def test_more_settings_and_tags_than_a_batch_holds(folder: Path) -> None:
    tracker = StudyTracker(folder)
    settings = {"many": {f"s{i}": i for i in range(250)}, "a:b": 1}
    run_id = tracker.start("pilot", settings, {f"store of {i}": str(i) for i in range(130)})
    run = client_of(tracker).get_run(run_id)
    assert not tracker.failed and len(run.data.params) == 251
    assert run.data.params["many.s249"] == "249" and run.data.tags["store of 129"] == "129"


def test_names_that_mlflow_would_refuse() -> None:
    site = SiteRecord(loss=1.0, metrics={"../up": 1.0, "a//b": 2.0, "é" * 999: 3.0, "": 4.0})
    found = round_metrics(RoundRecord(number=1, sites={"..": site}))
    names = {f"sites/{name}/median" for name in ("___up", "a__b", "_" * 60, "_", "loss")}
    assert names <= set(found) and max(map(len, found)) <= 250


def test_the_module_is_light() -> None:
    code = (
        "import sys, brainjepa_server.record.tracking;"
        " print({'mlflow', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
