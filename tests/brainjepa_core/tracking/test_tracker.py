"""What every tracker shares; studies and evaluations test the rest where they use it."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from brainjepa_core.pages.made import Made
from brainjepa_core.tracking import tracker as tracking
from brainjepa_core.tracking.about import run_tags
from brainjepa_core.tracking.tracker import local_uri, metric_part
from brainjepa_core.version import source_commit


@pytest.fixture
def installed(monkeypatch):
    """From a repository, as pip notes it."""
    told = '{"vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}'
    monkeypatch.setattr(PathDistribution, "read_text", lambda self, name: told)
    source_commit.cache_clear()
    yield
    source_commit.cache_clear()


def test_a_run_has_the_commit_that_a_page_has(installed):
    assert run_tags("x")["mlflow.source.git.commit"] == Made.now().commit == "c0ffee"


class Tracker(tracking.Tracker):
    def start(self) -> None:
        self._guard("start", lambda: self._begin("experiment", "run"))


class Elsewhere:
    """Stands for a server that fails after its first run."""

    def __init__(self) -> None:
        self.created = 0

    def get_experiment_by_name(self, name):
        return type("Experiment", (), {"experiment_id": "1"})

    def create_run(self, experiment, run_name):
        self.created += 1
        if self.created > 1:
            raise ConnectionError("gone")
        return type("Run", (), {"info": type("Info", (), {"run_id": "first"})})

    def set_terminated(self, run_id, status):
        raise AssertionError("nothing runs")


def test_a_run_that_did_not_begin_gets_nothing(tmp_path, caplog):
    server = Elsewhere()
    tracker = Tracker(tmp_path, lambda uri: server)
    tracker.start()
    assert (tracker.run_id, tracker.failed) == ("first", False)
    tracker.start()
    tracker.finish()
    assert (tracker.run_id, tracker.failed) == (None, True)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "MLflow could not start (ConnectionError: gone). Check mlflow.db"


def test_only_the_first_failure_is_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere")

    def broken(uri):
        raise OSError(f"no {uri}")

    tracker = Tracker(tmp_path, broken)
    with caplog.at_level(logging.WARNING):
        tracker.start()
        tracker.start()
    assert caplog.text.count("MLflow could not") == 1
    assert "Check the server of MLFLOW_TRACKING_URI" in caplog.text


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/a b#c", "sqlite:////a b#c/mlflow.db"),
        ("/a?b", "sqlite+pysqlite:////a%3Fb/mlflow.db"),
        ("/a%20b", "sqlite+pysqlite:////a%2520b/mlflow.db"),
    ],
)
def test_addresses_of_files(folder, expected):
    assert local_uri(Path(folder) / "mlflow.db") == expected


def test_parts_of_metrics_name_no_other_metric():
    assert metric_part("../up") == "___up" and metric_part("") == "_"
    assert len(metric_part("é" * 99)) == 60


def test_the_module_is_light():
    code = (
        "import sys, brainjepa_core.tracking.tracker;"
        " print({'mlflow', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
