"""An evaluation in MLflow: one run a model, by default in a SQLite file beside the results.

Whatever fails here is said once; the results are on disk before.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.scores.results import Results

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
URI = "MLFLOW_TRACKING_URI"
RESULTS_TAG = "brainjepa.results"  # folder of the results: the same one is logged once
_log = logging.getLogger(__name__)


def log_evaluation(
    folder: Path, results: Results, settings: Mapping[str, Any], artifacts: tuple[Path, ...] = ()
) -> bool:
    """Log every model's figures as a run of experiment ``evaluate <task>``.

    Parameters
    ----------
    folder : Path
        Of the results; ``MLFLOW_TRACKING_URI`` says where to log, else ``FOLDER/mlflow.db``.
    results : Results
    settings : mapping
        Parameters of every run.
    artifacts : tuple of Path
        Files kept with every run.

    Returns
    -------
    bool
        Whether it worked.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    try:
        _log_runs(folder.resolve(), results, settings, artifacts)
    except Exception as error:  # a server that is away must not cost the evaluation
        _log.warning(
            "expected MLflow to take the results, found %s; they are complete in the folder",
            " ".join(str(error).split())[:200] or type(error).__name__,
        )
        return False
    return True


def _log_runs(
    folder: Path, results: Results, settings: Mapping[str, Any], artifacts: tuple[Path, ...]
) -> None:
    from mlflow import MlflowClient

    for logger in ("alembic", "mlflow.store.db.utils"):  # a line a migration of a new database
        logging.getLogger(logger).setLevel(logging.WARNING)
    client = MlflowClient(os.environ.get(URI) or f"sqlite:///{folder / DATABASE}")
    for task in dict.fromkeys(row.task for row in results.rows):
        experiment = _experiment(client, f"evaluate {task}", folder)
        rows = [row for row in results.rows if row.task == task]
        for model in dict.fromkeys(row.model for row in rows):
            run = _run(client, experiment, model, folder)
            for name, value in settings.items():
                client.log_param(run, name, str(value)[:500])
            for row in rows:
                if row.model == model:
                    _log_row(client, run, row.metric, row.mean, row.low, row.high)
            for path in artifacts:
                client.log_artifact(run, str(path))
            client.set_terminated(run)


def _experiment(client: Any, name: str, folder: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    place = None if os.environ.get(URI) else (folder / ARTIFACTS).as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def _run(client: Any, experiment: str, model: str, folder: Path) -> str:
    """The model's run of this folder: made anew, so that an evaluation that goes on adds none."""
    tags = {"mlflow.runName": model, RESULTS_TAG: folder.name}
    for old in client.search_runs([experiment]):
        if all(old.data.tags.get(name) == value for name, value in tags.items()):
            client.delete_run(old.info.run_id)
    return str(client.create_run(experiment, tags=tags).info.run_id)


def _log_row(client: Any, run: str, metric: str, mean: float, low: float, high: float) -> None:
    key = metric.replace(" ", "_")
    for name, value in ((key, mean), (f"{key}_low", low), (f"{key}_high", high)):
        if math.isfinite(value):
            client.log_metric(run, name, value)
