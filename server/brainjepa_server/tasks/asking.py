"""Asking sites about a task, and the names of what is sent to them.

Shapes: J probes, F folds, P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainjepa_core.arrays import Arrays
from brainjepa_core.sums.logistic import Newton
from brainjepa_core.sums.ridge import Ridge
from brainjepa_core.wire.messages import EVALUATE, Assignment, ProbeRequest, Want
from brainjepa_server.rounds.sites import Answer, Sites
from brainjepa_server.settings import StudySettings
from brainjepa_server.tasks.report import TaskReport
from brainjepa_server.tasks.settings import StudyTask


class Asking:
    """One task, asked of all sites with one model; sites whose reply is no good are left out."""

    def __init__(
        self,
        sites: Sites,
        settings: StudySettings,
        arrays: Arrays,
        task: StudyTask,
        report: TaskReport,
    ) -> None:
        self.sites, self.settings, self.arrays, self.task = sites, settings, arrays, task
        self.report = report
        self.folds, self.classes = settings.folds, task.classes

    @property
    def probe(self) -> ProbeRequest:
        """What replies are judged by."""
        return self.task.question("scores")

    def of(self, pool: str) -> Asking:
        """The same of one pool."""
        task = self.task.model_copy(update={"pools": (pool,)})
        return Asking(self.sites, self.settings, self.arrays, task, self.report)

    def ask(self, want: Want, names: list[str], arrays: Arrays | None = None) -> Iterator[Answer]:
        """Ask after the last round, with the model's arrays and some more."""
        assignment, sent = self.question(want, arrays or {})
        deadline = self.settings.rounds.deadline
        yield from self.sites.ask(EVALUATE, assignment, sent, names, deadline)

    def question(self, want: Want, arrays: Arrays) -> tuple[Assignment, Arrays]:
        """A question after the last round: the settings part, and all arrays."""
        last = self.settings.assignment(self.settings.total_rounds - 1)
        assignment = last.model_copy(update={"probe": self.task.question(want)})
        return assignment, {**self.arrays, **arrays}

    def leave_out(self, what: str, site: str, reason: object) -> None:
        self.report.left_out.setdefault(what, {})[site] = str(reason)


def probe_arrays(pool: str, probes: list[tuple[Ridge, ...]]) -> Arrays:
    """J probes of F fits each: weights [J, F, P, Q] and intercepts [J, F, Q]."""
    return {
        f"probe.{pool}.weights": np.array([[fit.weights for fit in fits] for fits in probes]),
        f"probe.{pool}.intercept": np.array([[fit.intercept for fit in fits] for fits in probes]),
    }


def newton_arrays(pool: str, fits: list[Newton]) -> Arrays:
    """Where the sums of each fit are to be taken next."""
    return {
        f"probe.{pool}.{name}": np.stack([getattr(fit, name) for fit in fits])
        for name in ("centre", "scale", "trial")
    }
