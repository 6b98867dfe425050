"""MLflow, one run a study, in a local SQLite file by default; training never waits for it to work.

Whatever fails here is said once, with what to mend, and training goes on.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainjepa_core.files import atomic_path
from brainjepa_server.record.history import Number, RoundRecord, flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

DATABASE, ARTIFACTS, RUN_ID = "mlflow.db", "mlartifacts", "mlflow_run.txt"
MODEL = "model"  # folder of the final model among the run's artifacts
LONGEST_KEY, LONGEST_PARAM, LONGEST_TAG = 250, 500, 5000  # what servers of any version take
LARGEST_BATCH = 100
MARKER = "loss"  # logged last: where it is, the round is complete

_URI = "MLFLOW_TRACKING_URI"
# Read by MLflow when it is imported; what the user has set wins. Without the last two, a server
# that does not answer would hold a round up for minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_log = logging.getLogger(__name__)


class Tracker:
    """Writes a study to MLflow.

    ``MLFLOW_TRACKING_URI`` says where; without it, ``FOLDER/mlflow.db`` with its artifacts in
    ``FOLDER/mlartifacts``. The run's id is kept in ``FOLDER/mlflow_run.txt``, so that a study
    that is resumed continues its run. No method raises.

    Parameters
    ----------
    folder : path
        The study's.
    client : callable, optional
        Makes the MlflowClient, given the URI; for tests.

    Attributes
    ----------
    run_id : str or None
        None before `start`, and if it failed: the tracker then does nothing.
    """

    def __init__(self, folder: str | Path, client: Callable[[str], Any] | None = None) -> None:
        self.folder = Path(folder)
        self.run_id: str | None = None
        self._new_client = client or _mlflow_client
        self._client: Any = None  # an MlflowClient
        self._logged: dict[int, float] = {}
        self._warned = False

    def start(
        self, study: str, settings: Mapping[str, Any], tags: Mapping[str, str] | None = None
    ) -> str | None:
        """Begin the study's run, or continue it after a crash.

        Parameters
        ----------
        study : str
            Name of experiment and run.
        settings : mapping
            Nested; flattened to dotted names, and cut where longer than MLflow allows.
        tags : mapping of str to str, optional
            Such as versions.

        Returns
        -------
        str or None
            The run's id; None if MLflow failed.
        """
        self._guard("start the run", self._start, study, settings, tags or {})
        return self.run_id

    def log_round(self, record: RoundRecord) -> None:
        """Log a round's numbers at step ``record.number``; a repeat with the same loss is no-op."""
        self._guard("log a round", self._log_round, record)

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a picture as ``figures/NAME.png``."""
        self._guard("log a figure", self._log_figure, figure, name)

    def log_file(self, path: str | Path, folder: str | None = None) -> None:
        """Keep a file among the run's artifacts, in `folder` if given."""
        self._guard("log a file", self._log_file, Path(path), folder)

    def register_model(self, name: str, folder: str | Path) -> None:
        """Keep the final model's folder as ``model`` and register it; once a run."""
        self._guard("register the model", self._register, name, Path(folder))

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED; `start` would open it again."""
        self._guard("end the run", self._finish, status)

    def _guard(self, doing: str, action: Callable[..., None], *arguments: Any) -> None:
        if self.run_id is None and action != self._start:
            return
        try:
            action(*arguments)
        except Exception as error:  # whatever it is, it must not cost the training
            if not self._warned:
                where = f"the server of {_URI}" if os.environ.get(_URI) else DATABASE
                _log.warning(
                    "MLflow could not %s (%s); training goes on, and summary.json and report.html "
                    "stay complete. Check %s, then resume to log the rounds to come",
                    doing,
                    _short(error),
                    where,
                )
            self._warned = True

    def _start(self, study: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for variable, default in _ENVIRONMENT.items():
            os.environ.setdefault(variable, default)
        uri = os.environ.get(_URI) or f"sqlite:///{(self.folder / DATABASE).resolve()}"
        self._client = self._new_client(uri)
        run = self._old_run() or self._new_run(study)
        run_id: str = run.info.run_id
        with atomic_path(self.folder / RUN_ID) as temporary:
            temporary.write_text(run_id + "\n")
        self.run_id = run_id
        for tag, text in tags.items():
            self._client.set_tag(run_id, _key(tag), _cut(text, LONGEST_TAG))
        known = run.data.params  # MLflow refuses to change them
        for name, value in flatten(settings):
            if _key(name) not in known:
                self._client.log_param(run_id, _key(name), _cut(value, LONGEST_PARAM))
        if MARKER in run.data.metrics:
            history = self._client.get_metric_history(run_id, MARKER)
            self._logged = {metric.step: metric.value for metric in history}

    def _old_run(self) -> Any:
        """The run that this folder's study began, opened again; None where there is none."""
        from mlflow.exceptions import MlflowException

        path = self.folder / RUN_ID
        if not path.exists():
            return None
        try:
            run = self._client.get_run(path.read_text().strip())
            if run.info.lifecycle_stage != "active":
                return None
            self._client.update_run(run.info.run_id, status="RUNNING")
            return run
        except MlflowException as error:  # another database, or a run that was removed
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _new_run(self, study: str) -> Any:
        experiment = self._client.get_experiment_by_name(study)
        if experiment is not None:
            found = experiment.experiment_id
        elif os.environ.get(_URI):
            found = self._client.create_experiment(study)  # the server knows its place
        else:
            place = (self.folder / ARTIFACTS).resolve().as_uri()
            found = self._client.create_experiment(study, artifact_location=place)
        return self._client.create_run(found, run_name=study)

    def _log_round(self, record: RoundRecord) -> None:
        from mlflow.entities import Metric

        loss = record.loss
        if loss is not None and self._logged.get(record.number) == loss:
            return
        now = int(time.time() * 1000)
        metrics = [Metric(k, v, now, record.number) for k, v in round_metrics(record).items()]
        for start in range(0, len(metrics), LARGEST_BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + LARGEST_BATCH])
        if loss is not None:
            self._logged[record.number] = loss

    def _log_figure(self, figure: Figure, name: str) -> None:
        self._client.log_figure(self.run_id, figure, f"figures/{name}.png")

    def _log_file(self, path: Path, folder: str | None) -> None:
        self._client.log_artifact(self.run_id, str(path), folder)

    def _register(self, name: str, folder: Path) -> None:
        from mlflow.exceptions import MlflowException

        self._client.log_artifacts(self.run_id, str(folder), MODEL)
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = self._client.search_model_versions(f"run_id = '{self.run_id}'")
        if not any(version.name == name for version in versions):
            source = f"{self._client.get_run(self.run_id).info.artifact_uri}/{MODEL}"
            self._client.create_model_version(name, source, run_id=self.run_id)

    def _finish(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)


def round_metrics(record: RoundRecord) -> dict[str, float]:
    """A round's numbers under the names MLflow shows; what was not measured is left out.

    Global ones by plain name, a site's as ``sites/NAME/...``, R2 as
    ``yardstick/MODEL/POOL/OUTCOME``; the loss, if there is one, comes last.
    """
    found: dict[str, Number] = {
        "seconds": record.seconds,
        "seconds_beyond_sites": record.seconds_beyond_sites,
        "bytes_down": record.bytes_down,
        "bytes_up": record.bytes_up,
        "sites_used": len(record.sites),
        "sites_rejected": len(record.rejected),
    }
    for name, site in record.sites.items():
        values = site.model_dump()
        for key, value in (values.pop("metrics") | values).items():
            found[f"sites/{_part(name)}/{_part(key)}"] = value
    for row in record.yardstick:
        found["/".join(("yardstick", *map(_part, (row.model, row.pool, row.outcome))))] = row.r2
    found[MARKER] = record.loss
    return {key[:LONGEST_KEY]: float(value) for key, value in found.items() if value is not None}


def _mlflow_client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    # Creating the database prints one line a migration.
    for logger in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _key(name: str) -> str:
    """A name with none but the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:LONGEST_KEY]


def _part(name: str) -> str:
    """One part of a metric's path; sites choose some of them, so slashes and dots go."""
    return re.sub(r"[^\w\- ]", "_", name, flags=re.ASCII)[:60] or "_"


def _cut(value: object, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _short(error: Exception) -> str:
    """Kind and beginning of an error, without the password that a URI may hold."""
    text = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}"
