"""An evaluation in one HTML file that opens anywhere, needs nothing else, and prints.

Names of models, classes and groups come from files: the template escapes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from brainjepa_core.evaluation.asked.yardstick import Asked
from brainjepa_core.evaluation.report import result_figures as figures
from brainjepa_core.evaluation.report.asked_section import asked_section
from brainjepa_core.evaluation.report.result_figures import metric_label, units_of
from brainjepa_core.evaluation.report.result_tables import (
    comparison_table,
    counts,
    group_table,
    model_table,
)
from brainjepa_core.evaluation.report.result_verdict import verdict
from brainjepa_core.evaluation.scores.metrics import (
    CENTRED,
    STANDARDISED,
    WITHIN_SITE,
    headline,
    plain_metric,
)
from brainjepa_core.evaluation.scores.results import (
    TABLES,
    Comparison,
    Gap,
    OverSites,
    Results,
    Row,
)
from brainjepa_core.evaluation.scores.subgroups import METRICS
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Table, settings_table
from brainjepa_core.problems import counted

PAGE = "results.html"
PANELS = 4  # of the forest plot; all metrics are in the table


@dataclass(frozen=True)
class TaskFacts:
    """What the page tells of a task under a protocol beside its results.

    Attributes
    ----------
    task, protocol : str
        As the rows name them.
    kind : str
        ``classification`` or ``regression``.
    within_site : bool
        Whether the task is judged within sites.
    classes : dict of str to int
        People of each class; empty for regression.
    sites : dict of str to int
        People of each site.
    left_out : dict of str to int
        People who do not take part, by reason.
    settings : dict
        Of task and protocol, and whatever else made the numbers.
    pictures : dict of str to Figure
        By what they show: `truth_figure` of predictions, or where a model looks.
    notes : sequence of str
        Sentences on who trains and who is tested.
    asked : sequence of Asked
        What else was asked of the same people, a section each.
    clinical : Table, optional
        `clinical_table`, of two classes.
    """

    task: str
    protocol: str
    kind: str
    within_site: bool
    classes: Mapping[str, int]
    sites: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    notes: Sequence[str] = ()
    asked: Sequence[Asked] = ()
    clinical: Table | None = None

    @classmethod
    def of(
        cls,
        data: TaskData,
        protocol: str,
        left_out: Mapping[str, int] | None = None,
        settings: Mapping[str, object] | None = None,
        pictures: Mapping[str, Figure] | None = None,
        notes: Sequence[str] = (),
        asked: Sequence[Asked] = (),
        clinical: Table | None = None,
    ) -> TaskFacts:
        """Counts of the people of a task; `settings` beside the task's own."""
        each = [int((data.target == number).sum()) for number in range(len(data.classes))]
        sites, people = np.unique(data.sites, return_counts=True)
        return cls(
            data.task.name,
            protocol,
            data.task.kind,
            data.task.within_site,
            dict(zip(data.classes, each, strict=True)),
            {str(site): int(count) for site, count in zip(sites, people, strict=True)},
            left_out or {},
            data.task.model_dump(mode="json", exclude_defaults=True) | dict(settings or {}),
            pictures or {},
            notes,
            asked,
            clinical,
        )

    @property
    def headline(self) -> str:
        return headline(self.kind, self.within_site)

    @property
    def chance(self) -> dict[str, float]:
        """Figures of knowing nothing, by metric."""
        if self.kind == "regression":
            plain = {"r": 0.0, "r2": 0.0, STANDARDISED: 1.0}
            return plain | {f"{name}{WITHIN_SITE}": plain[name] for name in ("r", "r2")}
        known = {f"auc{of_sites}": 0.5 for of_sites in ("", WITHIN_SITE, CENTRED)}
        known |= {"balanced accuracy": 1 / len(self.classes)}
        return known | {"accuracy": max(self.classes.values()) / sum(self.classes.values())}


def write_result_page(
    folder: str | Path,
    results: Results,
    facts: Sequence[TaskFacts],
    *,
    title: str = "What the model is worth",
    reference: str | None = None,
    subjects: Sequence[str] = (),
    answering: Sequence[str] | None = None,
) -> Path:
    """Write FOLDER/results.html.

    Parameters
    ----------
    folder : path
    results : Results
    facts : sequence of TaskFacts
        One for each task and protocol, in the order of the page.
    title : str
    reference : str, optional
        The functional-connectivity baseline.
    subjects : sequence of str
        Models whose worth is in question, such as the federated probe.
    answering : sequence of str, optional
        Those that the first sentences are of; all by default.

    Returns
    -------
    Path
    """
    answering = subjects if answering is None else answering
    parts = [_Part(results, fact, reference, subjects, answering) for fact in facts]
    return write_page(
        Path(folder) / PAGE,
        "brainjepa_core.evaluation.report",
        "result_page.html",
        beside=[f"{name}.tsv" for name in TABLES],
        title=title,
        subtitle=" · ".join(part.title for part in parts),
        parts=[part.content() for part in parts],
        methods=" ".join(part.methods() for part in parts),
    )


class _Part:
    """A task under a protocol."""

    def __init__(
        self,
        results: Results,
        facts: TaskFacts,
        reference: str | None,
        subjects: Sequence[str],
        answering: Sequence[str],
    ) -> None:
        self.results, self.facts = results, facts
        self.reference, self.subjects, self.answering = reference, subjects, answering
        self.rows = [row for row in results.rows if self._mine(row)]
        self.over_sites = [one for one in results.over_sites if self._mine(one)]
        self.models = list(dict.fromkeys(row.model for row in self.rows))
        self.metrics = list(dict.fromkeys(row.metric for row in self.rows))
        # The metric it is judged by comes first.
        self.metrics.sort(key=lambda metric: metric != facts.headline)
        self.title = f"{facts.task}, {facts.protocol.replace('_', ' ')}"
        named = [model for model in (*subjects, reference) if model in self.models]
        self.shown = named or self.models[:4]

    def methods(self) -> str:
        """A sentence for a paper."""
        facts = self.facts
        everybody = counted(sum(facts.sites.values()), "person", "people")
        return (
            f"{facts.task} was predicted for {everybody} of {counted(len(facts.sites), 'site')} "
            f"under the protocol {facts.protocol.replace('_', ' ')} with brainjepa-federated; "
            "intervals are 95 % of a bootstrap over tested people, differences are paired, and p "
            "values are corrected by Holm."
        )

    def _mine(self, item: Row | Comparison | Gap | OverSites) -> bool:
        return (item.task, item.protocol) == (self.facts.task, self.facts.protocol)

    def content(self) -> dict[str, Any]:
        """What the template shows; without results, only that there are none."""
        facts = self.facts
        answer, *more = verdict(
            self.results, facts.task, facts.protocol, facts.headline, self.reference,
            self.answering, facts.chance.get(facts.headline),
        )  # fmt: skip
        told = {"title": self.title, "answer": answer, "more": more, "models": None}
        if not self.rows:
            return told
        return told | {
            "models": self._models(),
            "reference": self.reference or "a reference",
            "comparisons": self._comparisons(
                [c for c in self._compared() if c.against == self.reference]
            ),
            "controls": self._comparisons(
                [c for c in self._compared() if c.against != self.reference]
            ),
            "pictures": [Picture.of(figure, name) for name, figure in facts.pictures.items()],
            "clinical": facts.clinical,
            "asked": [asked_section(one, self.reference, self.subjects) for one in facts.asked],
            "groups": self._groups(),
            "people": self._people(),
            "settings": settings_table(facts.settings),
        }

    def _models(self) -> dict[str, Any]:
        drawn = [self.facts.headline]
        drawn += [m for m in self.metrics if m not in drawn and plain_metric(m) == m]
        figure = figures.forest(
            self.rows, drawn[:PANELS], self.reference, self.subjects, self.facts.chance
        )
        # Too many columns for one table: what it is judged by, of all people and of sites, first.
        judged = plain_metric(self.facts.headline)
        regression = self.facts.kind == "regression"
        first = [
            metric
            for metric in self.metrics
            if (plain_metric(metric) != metric if regression else plain_metric(metric) == judged)
        ]
        shown = [first, [metric for metric in self.metrics if metric not in first]]
        shown = shown if len(first) > 1 else [self.metrics]
        return {
            "picture": Picture.of(figure, f"Figures of all models, {self.title}"),
            "tables": [
                model_table(
                    self.rows, m, self.reference, self.subjects, self._compared(), self.over_sites
                )
                for m in shown
            ],
            "sites": max((one.sites for one in self.over_sites), default=0),
            "tested": counts([row.n for row in self.rows]),
        }

    def _compared(self) -> list[Comparison]:
        return [c for c in self.results.comparisons if self._mine(c)]

    def _comparisons(self, mine: Sequence[Comparison]) -> dict[str, Any] | None:
        if not mine:
            return None
        first = [c for c in mine if c.metric == self.facts.headline]
        others = [c for c in mine if c.metric != self.facts.headline]
        return {
            "table": comparison_table(first, self.over_sites),
            "repeated": any(np.isfinite(c.p_repeated) for c in mine),
            "others": comparison_table(others, self.over_sites) if others else None,
        }

    def _groups(self) -> dict[str, Any] | None:
        rows = [r for r in self.results.subgroups if self._mine(r) and r.model in self.shown]
        if not rows:
            return None
        gaps = [gap for gap in self.results.gaps if self._mine(gap)]
        metric, *others = METRICS[self.facts.kind]
        figure = figures.groups(rows, metric, self.shown, self.reference)
        tables = {m: group_table(rows, gaps, m, self.shown) for m in (metric, *others)}
        units = units_of(rows)

        def label(metric: str) -> str:
            return metric_label(metric, units.get(metric, ""))

        return {
            "picture": Picture.of(figure, f"{label(metric)} of groups of people"),
            "table": tables[metric],
            "spread": metric == "r",
            "others": [(label(m), tables[m]) for m in others],
        }

    def _people(self) -> dict[str, Any]:
        facts = self.facts
        everybody = counted(sum(facts.sites.values()), "person", "people")
        told = f"{everybody} of {counted(len(facts.sites), 'site')}"
        if facts.classes:
            told += ": " + ", ".join(f"{count} {name}" for name, count in facts.classes.items())
        left_out = sum(facts.left_out.values())
        many = counted(left_out, "person was", "people were") if left_out else "Nobody was"
        told += f". {many} left out."
        tables = [Table.of(("site", "people"), facts.sites.items(), ("name",))]
        if facts.left_out:
            reasons = facts.left_out.items()
            tables.append(Table.of(("left out because", "people"), reasons, ("name",)))
        return {"told": " ".join([told, *facts.notes]), "tables": tables}
