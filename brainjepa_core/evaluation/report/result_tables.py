"""Tables of the page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainjepa_core.evaluation.report.result_figures import metric_label, units_of
from brainjepa_core.evaluation.report.result_verdict import interval, number, outcome, p_value
from brainjepa_core.evaluation.scores.results import Comparison, Gap, OverSites, Row
from brainjepa_core.pages.table import Cell, Table
from brainjepa_core.pages.table import Row as Line


def model_table(
    rows: Sequence[Row],
    metrics: Sequence[str],
    reference: str | None,
    subjects: Sequence[str],
    comparisons: Sequence[Comparison],
    over_sites: Sequence[OverSites] = (),
) -> Table:
    """A row a model, a column a metric; what is clearly better than the reference is bold."""
    wide = {(one.model, one.metric): one for one in over_sites if not one.against}
    found, units = {(row.model, row.metric): row for row in rows}, units_of(rows)
    against = [c for c in comparisons if c.against == reference]
    better = {(c.model, c.metric) for c in against if outcome(c) == "better"}
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        cells = [
            figure_cell(found.get((model, m)), (model, m) in better, wide.get((model, m)))
            for m in metrics
        ]
        kind = "subject" if model in subjects else ""
        kind = "reference" if model == reference else kind
        lines.append(Line([model, *cells], kind))
    headings = [metric_label(metric, units.get(metric, "")) for metric in metrics]
    return Table(["model", *headings], lines, ("name",))


def comparison_table(
    comparisons: Sequence[Comparison], over_sites: Sequence[OverSites] = ()
) -> Table:
    """Differences from what models are compared with, and whether they are clear."""
    wide = {(one.model, one.metric, one.against): one for one in over_sites}
    repeated = any(np.isfinite(c.p_repeated) for c in comparisons)
    labels = dict.fromkeys(metric_label(c.metric, c.unit) for c in comparisons)
    several, apart = len(labels) > 1, len({c.against for c in comparisons}) > 1
    headings = ["model", *(["against"] if apart else []), *(["metric"] if several else [])]
    headings += ["difference" if several else f"difference in {next(iter(labels))}"]
    headings += ["95 % over people", *(["over sites"] if wide else []), "p", "p corrected"]
    headings += ["p over repetitions"] if repeated else []
    lines = []
    for c in comparisons:
        cells = [c.model, *([c.against] if apart else [])]
        cells += [metric_label(c.metric, c.unit)] if several else []
        cells += [number(c.difference), interval(c.low, c.high)]
        sites = wide.get((c.model, c.metric, c.against))
        if wide:
            cells.append("–" if sites is None else interval(sites.low, sites.high))
        cells += map(p_value, [c.p, c.p_holm] + ([c.p_repeated] if repeated else []))
        lines.append(Line([*cells, outcome(c)], outcome(c)))
    return Table([*headings, "verdict"], lines, ("name", *(["name"] if apart else [])))


def group_table(
    rows: Sequence[Row], gaps: Sequence[Gap], metric: str, models: Sequence[str]
) -> Table:
    """A row a group of people, a column a model; under the groups of a column, their gap."""
    found = {(row.group, row.model): row for row in rows if row.metric == metric}
    gap_of = {(gap.column, gap.model): gap for gap in gaps if gap.metric == metric}
    columns: dict[str, list[str]] = {}
    for group in dict.fromkeys(group for group, _ in found):
        columns.setdefault(group.split("=")[0], []).append(group)
    lines = []
    for column, members in columns.items():
        for group in members:
            cells = [found.get((group, model)) for model in models]
            count = next(cell.n for cell in cells if cell is not None)
            name = group.replace("=", ": ", 1)
            lines.append(Line([name, count, *map(figure_cell, cells)]))
        between = [gap_cell(gap_of.get((column, model))) for model in models]
        lines.append(Line([f"gap by {column}", "", *between], "gap"))
    unit = next((row.unit for row in rows if row.metric == metric), "")
    return Table([metric_label(metric, unit), "people", *models], lines, ("name",))


def figure_cell(row: Row | None, strong: bool = False, over_sites: OverSites | None = None) -> Cell:
    """A figure above its interval, and that over sites."""
    if row is None:
        return Cell("–")
    if not np.isfinite(row.mean):
        return Cell("too few" if row.group else "undefined")
    beside = f" ± {number(row.sd)}" if np.isfinite(row.sd) else ""
    below = [interval(row.low, row.high)]
    below += [] if over_sites is None else [f"sites {interval(over_sites.low, over_sites.high)}"]
    return Cell(number(row.mean), beside, tuple(below), strong)


def gap_cell(gap: Gap | None) -> Cell:
    """A gap with its interval, the groups it is between, and what chance does."""
    if gap is None:
        return Cell("–")
    best, worst = (name.split("=", 1)[-1] for name in (gap.best, gap.worst))
    chance = f"by chance {number(gap.chance)}, p = {p_value(gap.p)}"
    return Cell(
        number(gap.gap), below=(interval(gap.low, gap.high), f"{best} over {worst}", chance)
    )


def counts(numbers: Sequence[int]) -> str:
    """``312``, or ``60 to 63``."""
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"
