"""An evaluation in MLflow: one run a model, by default in a SQLite file beside the results.

Whatever fails here is said once; the results are on disk before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.scores.results import Results, Row
from brainjepa_core.files import atomic_path
from brainjepa_core.origin import digest
from brainjepa_core.tracking.tracker import Tracker

RUNS = "mlflow_runs.json"  # the runs that this folder's evaluation made, and may replace


def log_evaluation(
    folder: Path,
    results: Results,
    settings: Mapping[str, Any],
    origin: Mapping[str, Any],
    artifacts: tuple[Path, ...] = (),
) -> bool:
    """Log every model's figures as a run of experiment ``evaluate <task>``.

    Logged again from the same folder, a model's run replaces the one before; no other run is
    touched.

    Parameters
    ----------
    folder : Path
        Of the results; ``MLFLOW_TRACKING_URI`` says where to log, else ``mlflow.db`` beside it.
    results : Results
    settings : mapping
        Parameters of every run.
    origin : mapping
        All that the results were made from, as in ``origin.json``: a tag of every run holds the
        digest of it, and others those of scans, people, phenotypes and models.
    artifacts : tuple of Path
        Files kept with every run.

    Returns
    -------
    bool
        Whether it worked.
    """
    tracker = EvaluationTracker(folder)
    models = dict.fromkeys((row.task, row.model) for row in results.rows)
    for task, model in models:
        rows = [row for row in results.rows if (row.task, row.model) == (task, model)]
        tracker.log_model(f"evaluate {task}", model, rows, settings, _fingerprints(origin))
        for path in artifacts:
            tracker.log_file(path)
        tracker.finish()
        if tracker.failed:
            return False
    return True


class EvaluationTracker(Tracker):
    """Writes an evaluation to MLflow; parameters and attributes as of `Tracker`."""

    trouble = (
        "expected MLflow to take the results, found that it could not {doing} ({error}); they are "
        "complete in the folder. Check {where}"
    )

    def log_model(
        self,
        experiment: str,
        model: str,
        rows: Sequence[Row],
        settings: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        """Begin the model's run with its figures, in place of the one that the folder had."""
        self._guard("log a model", lambda: self._log_model(experiment, model, rows, settings, tags))

    def _log_model(
        self,
        experiment: str,
        model: str,
        rows: Sequence[Row],
        settings: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        self._connect()
        made = self._made()
        old = made.get(experiment, {}).pop(model, None)
        if old is not None and self._found(old) is not None:
            self._client.delete_run(old)
        run = self._begin(experiment, model)
        made.setdefault(experiment, {})[model] = run.info.run_id
        self._remember(made)
        self._describe(run, settings, tags, f"{model}, judged by {experiment.split(' ', 1)[1]}.")
        self._log_metrics({name: value for row in rows for name, value in _figures(row).items()})

    def _made(self) -> dict[str, dict[str, str]]:
        """Ids of the runs by experiment and model; none of a folder that was copied or damaged."""
        try:
            content = json.loads((self.folder / RUNS).read_text(encoding="utf-8"))
            made = {name: dict(runs) for name, runs in content["runs"].items()}
            return made if content["folder"] == str(self.folder.resolve()) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _remember(self, made: Mapping[str, Mapping[str, str]]) -> None:
        content = {"folder": str(self.folder.resolve()), "runs": made}
        with atomic_path(self.folder / RUNS) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _fingerprints(origin: Mapping[str, Any]) -> dict[str, str]:
    """Digests of all that results were made from, and of each of its parts that is told as one."""
    parts = {f"made from {name}": v for name, v in origin.items() if isinstance(v, str)}
    return {"made from": digest(origin), **parts}


def _figures(row: Row) -> dict[str, float]:
    """A metric with the ends of its interval, where they are known."""
    key = row.metric.replace(" ", "_")
    named = {key: row.mean, f"{key}_low": row.low, f"{key}_high": row.high}
    return {name: value for name, value in named.items() if math.isfinite(value)}
