"""Short scans, missing ROIs, another repetition time: the same people under other conditions.

Where scans are short, those who train are read as short as those who are tested, with the
consensus of whole scans. What ails the tested hospitals alone (ROIs outside the field of view,
another repetition time) is done to their scans only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from brainjepa_core.evaluation.asked.changed_scans import (
    Change,
    EveryOther,
    FirstSeconds,
    WithoutROIs,
    changed,
)
from brainjepa_core.evaluation.asked.yardstick import Asked, judged
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.scores.metrics import headline
from brainjepa_core.evaluation.scores.results import Comparison, Predictions, Row
from brainjepa_core.evaluation.tasks.protocols import Index, Split
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.signals.windows import Windows

SECONDS = (64.0, 128.0, 256.0)
MISSING = (0.1, 0.3)  # shares of ROIs
WHOLE = "as they are"
LEAST_LEFT = 5  # people to train, and to test, under a condition

MethodsOf = Callable[[Windows, TaskData], Sequence[Method]]
"""Methods for changed windows, which read by the consensus of the whole scans."""


@dataclass(frozen=True, eq=False)
class Asking:
    """People who are asked about under other conditions.

    Attributes
    ----------
    windows : Windows
    data : TaskData
    split : Split
    methods : callable
    reference : str
    whole : list of Predictions
        Of the same methods, of the scans as they are.
    patch : int
        Frames a token.
    progress : callable
    """

    windows: Windows
    data: TaskData
    split: Split
    methods: MethodsOf
    reference: str
    whole: Sequence[Predictions]
    patch: int = 1
    progress: Callable[[str], None] = lambda _: None

    def short_scans(self) -> Asked | None:
        """Of the first 64, 128 and 256 seconds, of those who train as well."""
        conditions = {f"first {s:g} s": _everywhere(FirstSeconds(s)) for s in SECONDS}
        told = (
            "Scans of everybody, those who train as well, are cut before anything else is done; "
            "shorter ones stay as they are. The consensus is of whole scans."
        )
        return self._asked("From short scans", told, conditions)

    def missing_rois(self) -> Asked | None:
        """With ROIs that a tested hospital does not have."""
        conditions = {
            f"{100 * share:g} % of ROIs missing": self._tested(partial(WithoutROIs, share))
            for share in MISSING
        }
        told = (
            "ROIs drawn at random are taken from all scans of a tested hospital, others at each; "
            "those who train have theirs."
        )
        return self._asked("With missing regions", told, conditions)

    def other_tr(self) -> Asked | None:
        """With every other frame of the tested hospitals."""
        told = (
            "Of the tested hospitals' scans every other frame is taken, as a scanner of twice the "
            "repetition time would give them; those who train have theirs."
        )
        return self._asked(
            "At another repetition time",
            told,
            {"twice the TR": self._tested(lambda _: EveryOther())},
        )

    @cached_property
    def _whole(self) -> tuple[list[Row], list[Comparison]]:
        """Of the scans as they are, beside which each section sets its own."""
        return judged(self.data, self.whole, WHOLE, self.reference)[:2]

    def _tested(self, change: Callable[[int], Change]) -> Callable[[int], Change | None]:
        tested = {self.windows.people[p].store for p in self.data.people[self.split.test]}
        return lambda store: change(store) if store in tested else None

    def _asked(
        self, title: str, told: str, conditions: dict[str, Callable[[int], Change | None]]
    ) -> Asked | None:
        rows: list[Row] = []
        comparisons: list[Comparison] = []
        done = []
        for condition, change_of in conditions.items():
            found = self._under(change_of)
            if found is not None:
                mine, against, _ = judged(found[0], found[1], condition, self.reference)
                rows, comparisons = [*rows, *mine], [*comparisons, *against]
                done.append(condition)
                self.progress(condition)
        if not done:
            return None
        mine, against = self._whole
        task = self.data.task
        metric = headline(task.kind, task.within_site)
        rows, comparisons = [*rows, *mine], [*comparisons, *against]
        return Asked(title, told, metric, (*done, WHOLE), tuple(rows), tuple(comparisons))

    def _under(
        self, change_of: Callable[[int], Change | None]
    ) -> tuple[TaskData, list[Predictions]] | None:
        """What is predicted of changed scans; None where too few people have any left."""
        w = self.windows
        windows = Windows(changed(w.stores, change_of), w.settings, patch=self.patch)
        data, places = people_of(self.data, w, windows)
        split = Split(
            self.split.name, 0, *(_kept(part, places) for part in (
                self.split.train, self.split.validation, self.split.test))
        )  # fmt: skip
        few = min(len(split.train) + len(split.validation), len(split.test))
        classes = len(np.unique(data.target[split.train])) if data.classes else 2
        if few < LEAST_LEFT or classes < 2:
            return None
        methods = self.methods(windows, data)
        return data, [Predictions(m.name, [split], [m.predict(data, split)]) for m in methods]


def people_of(data: TaskData, before: Windows, after: Windows) -> tuple[TaskData, Index]:
    """A task's people in other windows of their stores, and their new rows [n]; -1 without any."""
    numbers = {(p.store, p.records[0].subject): i for i, p in enumerate(after.people)}
    own = (before.people[person] for person in data.people)
    found = np.array([numbers.get((p.store, p.records[0].subject), -1) for p in own], np.int64)
    there = np.flatnonzero(found >= 0)
    places = np.full(len(data), -1)
    places[there] = np.arange(len(there))
    return replace(
        data,
        people=found[there],
        sites=data.sites[there],
        target=data.target[there],
        covariates=data.covariates[there],
        facts=tuple(data.facts[row] for row in there),
    ), places


def _kept(rows: Index, places: Index) -> Index:
    return places[rows][places[rows] >= 0]


def _everywhere(change: Change) -> Callable[[int], Change | None]:
    return lambda _: change
