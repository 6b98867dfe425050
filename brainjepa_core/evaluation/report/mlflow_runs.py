"""An evaluation in MLflow: one run a model, by default in a SQLite file beside the results.

Whatever fails here is said once; the results are on disk before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.scores.results import Comparison, Results, Row
from brainjepa_core.files import atomic_path
from brainjepa_core.origin import digest
from brainjepa_core.tracking.tracker import Tracker

RUNS = "mlflow_runs.json"  # the runs that this folder's evaluation made, and may replace
# What follows the name of a metric.
INTERVAL = ("low", "high")
ABOVE_CONNECTIVITY, ABOVE_RANDOM = "above_connectivity", "above_random_weights"


def log_evaluation(
    folder: Path,
    results: Results,
    settings: Mapping[str, Any],
    origin: Mapping[str, Any],
    artifacts: tuple[Path, ...] = (),
    *,
    reference: str = "",
) -> bool:
    """Log every model's figures as a run of experiment ``evaluate <task>``.

    Beside a metric ``r`` stand the ends of its interval, ``r_low`` and ``r_high``, and what the
    model has above others: ``r_above_connectivity`` and ``r_above_random_weights``, each with
    its interval likewise. Logged again from the same folder, a model's run replaces the one
    before; no other run is touched.

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
    reference : str
        The model of plain connectivity that others are compared with; others that are compared
        with something are compared with random weights.

    Returns
    -------
    bool
        Whether it worked.
    """
    tracker = EvaluationTracker(folder)
    models = dict.fromkeys((row.task, row.model) for row in results.rows)
    for task, model in models:
        figures = _figures_of(results, task, model, reference)
        tracker.log_model(f"evaluate {task}", model, figures, settings, _fingerprints(origin))
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
        figures: Mapping[str, float],
        settings: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        """Begin the model's run with its figures, in place of the one that the folder had."""
        told = experiment, model, figures, settings, tags
        self._guard("log a model", lambda: self._log_model(*told))

    def _log_model(
        self,
        experiment: str,
        model: str,
        figures: Mapping[str, float],
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
        self._log_metrics(figures)

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


def _figures_of(results: Results, task: str, model: str, reference: str) -> dict[str, float]:
    """A model's metrics and differences with the ends of their intervals, where they are known."""
    found: dict[str, float] = {}
    for row in results.rows:
        if (row.task, row.model) == (task, model):
            found |= _with_interval(row.metric, row.mean, row)
    for one in results.comparisons:
        if (one.task, one.model) == (task, model):
            above = ABOVE_CONNECTIVITY if one.against == reference else ABOVE_RANDOM
            found |= _with_interval(f"{one.metric} {above}", one.difference, one)
    return found


def _with_interval(name: str, value: float, of: Row | Comparison) -> dict[str, float]:
    key = name.replace(" ", "_")
    named = {key: value, **{f"{key}_{end}": getattr(of, end) for end in INTERVAL}}
    return {name: number for name, number in named.items() if math.isfinite(number)}
