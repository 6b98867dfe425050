"""Runs in MLflow, in a local SQLite file by default; whoever is tracked never waits for it to work.

Whatever fails here is said once, with what to mend, and no method raises. MLflow takes seconds to
import, so that it is imported when a run begins.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from brainjepa_core.extras import require
from brainjepa_core.files import atomic_path, lone_writer
from brainjepa_core.settings import flatten
from brainjepa_core.tracking.about import EXPERIMENT_KIND, Data, dataset_inputs, run_tags
from brainjepa_core.tracking.moved import follow

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

URI = "MLFLOW_TRACKING_URI"  # where the user wants runs to be
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # where they are without it
RUN_ID = "mlflow_run.txt"  # in the folder of what is tracked: the run that goes on
MODEL = "model"  # folder of a registered model among its run's artifacts
LONGEST_KEY, LONGEST_PARAM, LONGEST_TAG = 250, 500, 5000  # what servers of any version take
LARGEST_BATCH = 100
WATCH_SECONDS = 60  # between two looks at the machine: studies side by side share one SQLite file

# Read by MLflow when it is imported; what the user has set wins. Without the last two, a server
# that does not answer would hold a round up for minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_log = logging.getLogger(__name__)


class Tracker:
    """Writes one run at a time to MLflow.

    ``MLFLOW_TRACKING_URI`` says where; without it, ``mlflow.db`` beside the folder, with artifacts
    in ``mlartifacts``: one database for all that lies side by side.

    Parameters
    ----------
    folder : path
        Of what is tracked.
    client : callable, optional
        Makes the MlflowClient, given the URI; for tests.

    Attributes
    ----------
    run_id : str or None
        None while there is no run: the tracker then does nothing.
    failed : bool
        Whether anything went wrong.
    """

    # Logged at the first failure: what was tried, what went wrong, and where.
    trouble = "MLflow could not {doing} ({error}). Check {where}"

    def __init__(self, folder: str | Path, client: Callable[[str], Any] | None = None) -> None:
        self.folder = Path(folder)
        self.run_id: str | None = None
        self.failed = False
        self._new_client = client or mlflow_client
        self._client: Any = None  # an MlflowClient
        self._monitor: Any = None  # of the machine, while a run is at work

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a picture as ``figures/NAME.png``."""
        self._in_run(
            "log a figure",
            lambda: self._client.log_figure(self.run_id, figure, f"figures/{name}.png"),
        )

    def log_file(self, path: str | Path, folder: str | None = None) -> None:
        """Keep a file among the run's artifacts, in `folder` if given."""
        self._in_run(
            "log a file", lambda: self._client.log_artifact(self.run_id, str(path), folder)
        )

    def register_model(
        self, name: str, write: Callable[[Path], object], place: str = MODEL
    ) -> None:
        """Keep a model at a place among the run's files and register it; once a run.

        Parameters
        ----------
        name : str
        write : callable
            Given a new path, writes there what MLflow loads.
        place : str
        """
        self._in_run("register the model", lambda: self._register(name, write, place))

    def log_data(self, data: Sequence[Data]) -> None:
        """Say which scans the run reads; again and of the same ones, it is nothing new."""
        self._in_run(
            "log the data", lambda: self._client.log_inputs(self.run_id, dataset_inputs(data))
        )

    def watch_machine(self) -> None:
        """Log the machine's load until the run ends, every minute."""
        self._in_run("watch the machine", self._watch)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._in_run("end the run", lambda: self._finish(status))

    def add_to_run(self, paths: Sequence[Path]) -> None:
        """Keep files with the run that ``FOLDER/mlflow_run.txt`` names; nothing without one."""
        self._guard("add to the run", lambda: self._add(paths))

    def _in_run(self, doing: str, action: Callable[[], None]) -> None:
        if self.run_id is not None:
            self._guard(doing, action)

    def _guard(self, doing: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever it is, it must not cost what is tracked
            if not self.failed:
                where = f"the server of {URI}" if os.environ.get(URI) else DATABASE
                _log.warning(self.trouble.format(doing=doing, error=_short(error), where=where))
            self.failed = True

    # What follows may raise: for use within the guard.

    def _connect(self) -> None:
        if self._client is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for variable, default in _ENVIRONMENT.items():
                os.environ.setdefault(variable, default)
            if os.environ.get(URI):
                self._client = self._new_client(os.environ[URI])
            else:
                with lone_writer(self._place / f".{DATABASE}.lock", "runs into", wait=True):
                    follow(self._place / DATABASE, self._place / ARTIFACTS)
                    self._client = self._new_client(self._uri)  # makes the database

    @property
    def _place(self) -> Path:
        """Folder of the local database."""
        return self.folder.resolve().parent

    @property
    def _uri(self) -> str:
        return os.environ.get(URI) or local_uri(self._place / DATABASE)

    @property
    def _noted(self) -> str | None:
        """The run that ``FOLDER/mlflow_run.txt`` names, unless the folder was copied alone."""
        path, database = self.folder / RUN_ID, self._place / DATABASE
        there = path.is_file() and (os.environ.get(URI) or database.is_file())
        return path.read_text().strip() if there else None

    def _go_on(self, experiment: str, name: str) -> Any:
        """The noted run opened again, or a new one of this name, noted from now on."""
        run = self._begin(experiment, name, self._noted)
        with atomic_path(self.folder / RUN_ID) as temporary:
            temporary.write_text(f"{self.run_id}\n")
        return run

    def _begin(self, experiment: str, name: str, known: str | None = None) -> Any:
        """Run `known` opened again, or a new one of this name where it is not there."""
        self._connect()
        self.run_id = None
        run = self._opened(known) if known else None
        if run is None:
            run = self._client.create_run(self._experiment(experiment), run_name=name)
        self.run_id = str(run.info.run_id)
        return run

    def _opened(self, run_id: str) -> Any:
        run = self._found(run_id)
        if run is not None:
            self._client.update_run(run_id, status="RUNNING")
        return run

    def _found(self, run_id: str) -> Any:
        """A run that is there and was not deleted, or None."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:  # another database, or a run that was removed
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = (self._place / ARTIFACTS).as_uri()
        where = (
            {} if os.environ.get(URI) else {"artifact_location": place}
        )  # a server knows its own
        return str(self._client.create_experiment(name, tags=EXPERIMENT_KIND, **where))

    def _describe(
        self, run: Any, settings: Mapping[str, Any], tags: Mapping[str, str], description: str
    ) -> None:
        """Tags, and settings as parameters; MLflow refuses to change those that it has."""
        from mlflow.entities import Param, RunTag

        tags = {**run_tags(description), **tags}
        texts = {_key(tag): _cut(text, LONGEST_TAG) for tag, text in tags.items()}
        values = {_key(name): _cut(value, LONGEST_PARAM) for name, value in flatten(settings)}
        told = [RunTag(tag, text) for tag, text in texts.items()]
        new = [Param(name, v) for name, v in values.items() if name not in run.data.params]
        for start in range(0, max(len(told), len(new)), LARGEST_BATCH):
            part = slice(start, start + LARGEST_BATCH)
            self._client.log_batch(self.run_id, params=new[part], tags=told[part])

    def _log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """In the order given, which is that of writing."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name[:LONGEST_KEY], value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), LARGEST_BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + LARGEST_BATCH])

    def _watch(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
        about = {"resume_logging": True, "tracking_uri": self._uri}
        self._monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            self.run_id, sampling_interval=WATCH_SECONDS, **about
        )
        self._monitor.start()

    def _finish(self, status: str) -> None:
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self._client.set_terminated(self.run_id, status)

    def _add(self, paths: Sequence[Path]) -> None:
        run_id = self._noted
        if run_id is None:
            return
        self._connect()
        if self._found(run_id) is not None:
            for path in paths:
                self._client.log_artifact(run_id, str(path))

    def _register(self, name: str, write: Callable[[Path], object], place: str) -> None:
        from mlflow.exceptions import MlflowException

        with TemporaryDirectory() as made:
            write(Path(made) / MODEL)
            self._client.log_artifacts(self.run_id, str(Path(made) / MODEL), place)
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = self._client.search_model_versions(f"run_id = '{self.run_id}'")
        if not any(version.name == name for version in versions):
            source = f"{self._client.get_run(self.run_id).info.artifact_uri}/{place}"
            self._client.create_model_version(name, source, run_id=self.run_id)


def mlflow_client(uri: str) -> MlflowClient:
    """MLflow's client of a tracking URI, without a line for each thing that it does."""
    require("mlflow")
    from mlflow import MlflowClient

    for logger in ("alembic", "mlflow.store.db.utils", "mlflow.pyfunc"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def metric_part(name: str) -> str:
    """One part of a metric's path; sites choose some of them, so slashes and dots go."""
    return re.sub(r"[^\w\- ]", "_", name, flags=re.ASCII)[:60] or "_"


def local_uri(database: Path) -> str:
    """Address of a SQLite file; in an address a question mark begins a query, and % a code.

    The driver is named with a code because MLflow makes the folder of a ``sqlite:///`` address
    without decoding it.
    """
    path = str(database.resolve())
    return f"sqlite+pysqlite:///{quote(path)}" if set("?%") & set(path) else f"sqlite:///{path}"


def _key(name: str) -> str:
    """A name with none but the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:LONGEST_KEY]


def _cut(value: object, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _short(error: Exception) -> str:
    """Kind and beginning of an error, without the password that a URI may hold."""
    text = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}"
