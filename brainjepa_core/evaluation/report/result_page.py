"""An evaluation in one HTML file that opens anywhere, needs nothing else, and prints.

All text is escaped: names of models, classes and groups come from files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.figure import Figure

from brainjepa_core.evaluation.report import result_figures as figures
from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_core.evaluation.report.result_tables import (
    comparison_table,
    counts,
    details,
    figure_cell,
    gap_cell,
    note,
    settings_table,
    table,
    table_row,
)
from brainjepa_core.evaluation.report.result_verdict import verdict
from brainjepa_core.evaluation.scores.metrics import WITHIN_SITE, headline, lower_is_better
from brainjepa_core.evaluation.scores.results import Comparison, Gap, Results, Row
from brainjepa_core.evaluation.scores.subgroups import METRICS
from brainjepa_core.evaluation.tasks.settings import TaskData
from brainjepa_core.files import atomic_path
from brainjepa_core.pages.html import embedded_picture, html_text

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

    @classmethod
    def of(
        cls,
        data: TaskData,
        protocol: str,
        left_out: Mapping[str, int] | None = None,
        settings: Mapping[str, object] | None = None,
        pictures: Mapping[str, Figure] | None = None,
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
        )

    @property
    def headline(self) -> str:
        return headline(self.kind, self.within_site)

    @property
    def chance(self) -> dict[str, float]:
        """Figures of knowing nothing, by metric."""
        if self.kind == "regression":
            plain = {"r": 0.0, "r2": 0.0, "mse": 1.0}
            return plain | {f"{name}{WITHIN_SITE}": plain[name] for name in ("r", "r2")}
        known = {"auc": 0.5, f"auc{WITHIN_SITE}": 0.5, "balanced accuracy": 1 / len(self.classes)}
        return known | {"accuracy": max(self.classes.values()) / sum(self.classes.values())}


def write_result_page(
    folder: str | Path,
    results: Results,
    facts: Sequence[TaskFacts],
    *,
    title: str = "What the model is worth",
    reference: str | None = None,
    subjects: Sequence[str] = (),
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

    Returns
    -------
    Path
    """
    parts = [_Part(results, fact, reference, subjects) for fact in facts]
    template = files("brainjepa_core.evaluation.report") / "result_page.html.template"
    page = Template(template.read_text(encoding="utf-8")).substitute(
        title=html_text(title),
        subtitle=html_text(" · ".join(part.title for part in parts)),
        verdict="\n".join(part.verdict() for part in parts),
        sections="\n".join(part.section() for part in parts),
    )
    path = Path(folder) / PAGE
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return path


class _Part:
    """A task under a protocol."""

    def __init__(
        self, results: Results, facts: TaskFacts, reference: str | None, subjects: Sequence[str]
    ) -> None:
        self.results, self.facts = results, facts
        self.reference, self.subjects = reference, subjects
        self.rows = [row for row in results.rows if self._mine(row)]
        self.models = list(dict.fromkeys(row.model for row in self.rows))
        self.metrics = list(dict.fromkeys(row.metric for row in self.rows))
        # The metric it is judged by comes first.
        self.metrics.sort(key=lambda metric: metric != facts.headline)
        self.title = f"{facts.task}, {facts.protocol.replace('_', ' ')}"
        named = [model for model in (*subjects, reference) if model in self.models]
        self.shown = named or self.models[:4]

    def _mine(self, item: Row | Comparison | Gap) -> bool:
        return (item.task, item.protocol) == (self.facts.task, self.facts.protocol)

    def verdict(self) -> str:
        facts = self.facts
        first, *more = verdict(
            self.results, facts.task, facts.protocol, facts.headline, self.reference,
            self.subjects, facts.chance.get(facts.headline),
        )  # fmt: skip
        lines = "".join(f"<li>{html_text(sentence)}</li>" for sentence in more)
        told = f"<p><strong>{html_text(self.title)}:</strong> {html_text(first)}</p>"
        return f"{told}<ul>{lines}</ul>" if lines else told

    def section(self) -> str:
        parts = [f"<h2>{html_text(self.title)}</h2>"]
        if not self.rows:
            return "\n".join([*parts, note("Nothing was evaluated.")])
        parts += self._all_models()
        parts += self._comparisons()
        for title, figure in self.facts.pictures.items():
            parts += [f"<h3>{html_text(title)}</h3>", embedded_picture(figure, title)]
        parts += self._subgroups()
        parts += self._people()
        parts += ["<h3>Settings</h3>", settings_table(self.facts.settings)]
        return "\n".join(parts)

    def _all_models(self) -> list[str]:
        drawn = [self.facts.headline]
        drawn += [m for m in self.metrics if m not in drawn and not m.endswith(WITHIN_SITE)]
        figure = figures.forest(
            self.rows, drawn[:PANELS], self.reference, self.subjects, self.facts.chance
        )
        within = [metric for metric in self.metrics if metric.endswith(WITHIN_SITE)]
        whole = [metric for metric in self.metrics if metric not in within]
        if len(within) > 1:  # too many columns for one table
            tables = [self._model_table(within), self._model_table(whole)]
        else:
            tables = [self._model_table(self.metrics)]
        return [
            embedded_picture(figure, f"Figures of all models, {self.title}"),
            *tables,
            note(
                "Mean ± standard deviation over repetitions (over splits where there is one "
                "repetition) and 95 % bootstrap interval over "
                f"{counts([row.n for row in self.rows])} tested people. "
                "Bold: the highest of its column (lowest of errors), by chance or not. MSE is of "
                "the standardised target, MAE in its units. A model that predicts nearly the same "
                "of everybody can fall below chance where several splits are pooled: the mean of "
                "those who train moves away from those who are tested."
            ),
        ]

    def _model_table(self, metrics: Sequence[str]) -> str:
        found = {(row.model, row.metric): row for row in self.rows}
        best = {metric: self._best(metric) for metric in metrics}
        rows = []
        for model in self.models:
            cells = [figure_cell(found.get((model, m)), model == best[m]) for m in metrics]
            kind = "subject" if model in self.subjects else ""
            kind = "reference" if model == self.reference else kind
            rows.append(table_row([html_text(model), *cells], kind))
        return table(["model", *(metric_label(metric) for metric in metrics)], rows)

    def _best(self, metric: str) -> str | None:
        known = [r for r in self.rows if r.metric == metric and np.isfinite(r.mean)]
        sign = -1 if lower_is_better(metric) else 1
        return max(known, key=lambda row: sign * row.mean).model if known else None

    def _comparisons(self) -> list[str]:
        mine = [c for c in self.results.comparisons if self._mine(c)]
        parts = [f"<h3>Against {html_text(self.reference or 'a reference')}</h3>"]
        if not mine:
            return [*parts, note("No model was compared.")]
        first = [c for c in mine if c.metric == self.facts.headline]
        others = [c for c in mine if c.metric != self.facts.headline]
        told = (
            "Paired bootstrap over people; p is corrected by Holm for the number of models. It "
            "tells what other tested people would change, not other training people."
        )
        if any(np.isfinite(c.p_repeated) for c in mine):
            told += (
                " The corrected resampled t-test over repetitions (Nadeau and Bengio) also counts "
                "training; it is not corrected for the number of models."
            )
        parts += [comparison_table(first), note(told)]
        if others:
            parts.append(details("The other metrics", comparison_table(others)))
        return parts

    def _subgroups(self) -> list[str]:
        rows = [r for r in self.results.subgroups if self._mine(r) and r.model in self.shown]
        parts = ["<h3>For whom it works</h3>"]
        if not rows:
            return [*parts, note("Nobody's groups are known, or all are in one.")]
        metric, *others = METRICS[self.facts.kind]
        figure = figures.groups(rows, metric, self.shown, self.reference)
        spread = "Pearson r is small where the target varies little, as within an age band. "
        parts += [
            embedded_picture(figure, f"{metric_label(metric)} of groups of people"),
            self._group_table(rows, metric),
            note(
                (spread if metric == "r" else "")
                + "Gap: the best group less the worst. Some group is always best; by chance is the "
                "gap of groups of the same sizes that people are put into at random, p the share "
                "of such gaps that are as large, uncorrected. Groups with too few people have no "
                "figure. All models are in subgroups.tsv and gaps.tsv."
            ),
        ]
        parts += [details(f"By {metric_label(m)}", self._group_table(rows, m)) for m in others]
        return parts

    def _group_table(self, rows: Sequence[Row], metric: str) -> str:
        found = {(r.group, r.model): r for r in rows if r.metric == metric}
        gaps = {
            (gap.column, gap.model): gap
            for gap in self.results.gaps
            if self._mine(gap) and gap.metric == metric
        }
        lines = []
        groups = dict.fromkeys(group for group, _ in found)
        for column in dict.fromkeys(group.split("=")[0] for group in groups):
            members = [group for group in groups if group.split("=")[0] == column]
            for group in members:
                cells = [found.get((group, model)) for model in self.shown]
                count = str(next(cell.n for cell in cells if cell is not None))
                name = html_text(group.replace("=", ": ", 1))
                lines.append(table_row([name, count, *(figure_cell(cell) for cell in cells)]))
            texts = [gap_cell(gaps.get((column, model))) for model in self.shown]
            lines.append(table_row([html_text(f"gap by {column}"), "", *texts], "gap"))
        return table([metric_label(metric), "people", *self.shown], lines)

    def _people(self) -> list[str]:
        facts = self.facts
        total = sum(facts.sites.values())
        told = f"{total} people of {len(facts.sites)} sites"
        if facts.classes:
            told += ": " + ", ".join(f"{count} {name}" for name, count in facts.classes.items())
        left_out = sum(facts.left_out.values())
        told += f". {left_out} people were left out." if left_out else ". Nobody was left out."
        rows = [table_row([html_text(site), str(count)]) for site, count in facts.sites.items()]
        reasons = [table_row([html_text(why), str(count)]) for why, count in facts.left_out.items()]
        parts = ["<h3>Who took part</h3>", f"<p>{html_text(told)}</p>"]
        tables = table(["site", "people"], rows)
        tables += table(["left out because", "people"], reasons) if reasons else ""
        return [*parts, f'<div class="beside">{tables}</div>']
