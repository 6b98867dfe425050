"""A run of pretraining on one machine in MLflow: a step each time the loop looks at its device."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from brainjepa_core.evaluation.pyfunc_model import reads_series, write_pyfunc
from brainjepa_core.models.sharing.card import CARD
from brainjepa_core.pretraining.run_card import ROUNDED_TO
from brainjepa_core.problems import rounded_down
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.tracking.about import Data
from brainjepa_core.tracking.tracker import URI, Tracker

EXPERIMENT = "pretrain"


class RunTracker(Tracker):
    """Writes a run to MLflow; parameters and attributes as of `Tracker`. No method raises."""

    trouble = (
        "MLflow could not {doing} ({error}); training goes on, and metrics.jsonl stays complete. "
        "Check {where}"
    )

    _newest = -1  # step that MLflow has

    def start(self, settings: Mapping[str, Any], stores: Sequence[Scans]) -> None:
        """Begin the run, or continue the one that ``FOLDER/mlflow_run.txt`` names.

        Where MLflow is not installed and nobody has named a server, nothing begins.
        """
        if not os.environ.get(URI) and importlib.util.find_spec("mlflow") is None:
            return
        self._guard("start the run", lambda: self._start(settings))
        self.log_data([_data(store) for store in stores])
        self.watch_machine()

    def log_line(self, line: Mapping[str, Any]) -> None:
        """Log what the loop found at a step; one that MLflow has is nothing new."""
        if line["step"] > self._newest:
            self._in_run("log a step", lambda: self._log_line(line))

    def publish(self, model: Path) -> None:
        """Keep a finished model and its card with the run, and register it by the run's name."""
        self.log_file(model / CARD)
        if reads_series(model):
            self.register_model(self.folder.resolve().name, partial(write_pyfunc, model))

    def _start(self, settings: Mapping[str, Any]) -> None:
        name = self.folder.resolve().name
        run = self._go_on(EXPERIMENT, name)
        self._describe(run, settings, {}, f"{name}: a model pretrained on pooled scans.")
        known = self._client.get_metric_history(self.run_id, "loss")
        self._newest = max((metric.step for metric in known), default=-1)

    def _log_line(self, line: Mapping[str, Any]) -> None:
        told = {("learning_rate" if name == "lr" else name): value for name, value in line.items()}
        step = int(told.pop("step"))
        self._log_metrics({name: float(value) for name, value in told.items()}, step)


@contextmanager
def tracked(run: Path) -> Iterator[RunTracker]:
    """A tracker for work on a run, which it starts; its end is the run's."""
    tracker = RunTracker(run)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"  # MLflow's word for it
        raise
    finally:
        tracker.finish(status)


def _data(store: Scans) -> Data:
    counts = len({record.subject for record in store.records}), len(store.records)
    people, scans = (rounded_down(count, ROUNDED_TO) for count in counts)
    return Data(store.path.name, store.fingerprint, people, scans)
