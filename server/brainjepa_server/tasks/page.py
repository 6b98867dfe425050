"""A task's report as a page: the answer, each site, all together, from site to site, who is out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.palette import BLUE, GREY, INK, SEQUENTIAL
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Table, settings_table
from brainjepa_core.problems import counted
from brainjepa_core.wire.messages import NO_MODELS
from brainjepa_server.record.over_sites import OverSites
from brainjepa_server.reporting.words import number_in_words
from brainjepa_server.tasks.over_sites import (
    Scores,
    judged_by,
    models_of,
    values_of,
    verdict,
)
from brainjepa_server.tasks.report import NO_INTERVALS
from brainjepa_server.tasks.report_file import MatrixInFile, TaskFile, read_task_report, task_of

WRITTEN = 12  # sites of a matrix whose figures are written into the picture


def write_task_page(path: Path) -> Path:
    """Write task-NAME.html beside task-NAME.json, from what that holds.

    Parameters
    ----------
    path : Path
        Of the JSON.
    """
    report, name = read_task_report(path), task_of(path)
    scores = {site: told.metrics for site, told in report.sites.items()}
    metric = judged_by(scores)
    label = "" if metric is None else metric_label(metric, report.units.get(metric) or "")
    out = {
        **report.left_out,
        **{f"matrix, {pool}": matrix.reasons for pool, matrix in report.matrices.items()},
    }
    told = verdict(scores, metric, label) if metric else ["No site told its scores."]
    return write_page(
        path.with_suffix(".html"),
        "brainjepa_server.tasks",
        "page.html",
        beside=(path.name,),
        title=f"Task {name}: what the model tells at each site",
        subtitle=f"{counted(len(scores), 'site')} · nobody's data moved",
        verdict=told,
        sites=None if metric is None else _sites(report, scores, metric, label),
        rows=_rows(report),
        lacking=NO_INTERVALS,
        matrices=[
            _matrix(pool, matrix, metric)
            for pool, matrix in report.matrices.items()
            if metric is not None and metric in matrix.values
        ],
        reasons=Table.of(
            ("asked", "site", "reason"),
            [(what, site, why) for what, sites in out.items() for site, why in sites.items()],
            ("text", "text", "long"),
        ),
        settings=settings_table(report.made_from),
        methods=_methods(name, report, scores),
    )


def _sites(report: TaskFile, scores: Scores, metric: str, label: str) -> dict[str, Any]:
    models = models_of(scores)
    rows = [
        (
            site,
            report.sites[site].people,
            *(number_in_words(told.get(model, {}).get(metric), 3) for model in models),
        )
        for site, told in scores.items()
    ]
    table = Table.of(("site", "people", *(f"{label}, {m}" for m in models)), rows, ("text",))
    drawn = Picture.of(strips(scores, metric, label), f"{label} of each site, by model")
    return {"table": table, "picture": drawn}


def strips(scores: Scores, metric: str, label: str) -> Figure:
    """A dot a site, and the mean over sites with its interval, by model."""
    models = [m for m in models_of(scores) if values_of(scores, m, metric)]
    figure = Figure(figsize=(8, 0.8 + 0.42 * len(models)), layout="constrained")
    ax = figure.subplots()
    for place, model in enumerate(models):
        values = list(values_of(scores, model, metric).values())
        learned = model not in NO_MODELS
        over = OverSites.of(values)
        ax.plot(values, [place] * len(values), "o", color=BLUE if learned else GREY, alpha=0.55)
        ax.plot(over.mean, place, "|", color=INK, markersize=16, markeredgewidth=2)
        if over.low is not None and over.high is not None:
            ax.plot([over.low, over.high], [place, place], color=INK, linewidth=1.2)
    ax.set(yticks=range(len(models)), yticklabels=models, xlabel=label)
    ax.set_ylim(len(models) - 0.5, -0.5)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return figure


def _matrix(pool: str, matrix: MatrixInFile, metric: str) -> dict[str, Any]:
    sites, values = matrix.sites, matrix.values[metric]
    label = metric_label(metric, matrix.units.get(metric) or "")
    rows = [
        (site, *(number_in_words(value, 3) for value in line))
        for site, line in zip(sites, values, strict=True)
    ]
    drawn = Picture.of(heat(sites, values, label), f"{label} from site to site, {pool}")
    table = Table.of(("made at, tried at", *sites), rows, ("text",))
    return {"title": f"{label}, {pool}", "picture": drawn, "table": table}


def heat(sites: Sequence[str], values: Sequence[Sequence[float | None]], label: str) -> Figure:
    """Figures from site (row) to site (column)."""
    shown = np.array(values, dtype=np.float64)
    size = 2.6 + 0.42 * min(len(sites), 2 * WRITTEN)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(shown, cmap=SEQUENTIAL)
    middle = np.mean(image.get_clim())
    if len(sites) <= WRITTEN:
        for (row, column), value in np.ndenumerate(shown):
            color = INK if not value <= middle else "white"  # a missing cell is white
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(range(len(sites)), sites, rotation=90, fontsize=8)
    ax.set_yticks(range(len(sites)), sites, fontsize=8)
    ax.set(xlabel="tried at", ylabel="made at")
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, shrink=0.8, label=label)
    return figure


def _rows(report: TaskFile) -> Table:
    rows = [
        (row.model, metric_label(row.metric, row.unit), number_in_words(row.mean, 3), row.n)
        for row in report.rows
    ]
    return Table.of(("model", "metric", "value", "people"), rows, ("name", "text"))


def _methods(name: str, report: TaskFile, scores: Scores) -> str:
    people = sum(told.people for told in report.sites.values())
    return (
        f"What the model tells of {name} was judged at {counted(len(scores), 'site')} by linear "
        f"probes of its frozen vectors, beside probes of plain connectivity, with at least "
        f"{people} people; sites told scores and sums over people, and nobody's data moved "
        "(brainjepa-federated). Intervals are Student's t over sites."
    )
