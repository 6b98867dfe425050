"""The page of a study: what was asked, what was found, the paper's own numbers, at which size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from brainjepa_core.evaluation.report.result_figures import forest, metric_label
from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Cell, Row, Table, settings_table
from brainjepa_core.problems import counted
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.paper_studies.found import Asked, Found
from brainjepa_simulations.paper_studies.settings import PaperStudy

PAGE = "study.html"
LARGEST = 12  # rows of a study's own table that the page shows; the rest is in table.tsv


def write_study_page(
    folder: Path, study: PaperStudy, found: Found, windows: Windows, made_up: bool
) -> Path:
    """Write FOLDER/study.html.

    Parameters
    ----------
    folder : Path
    study : PaperStudy
    found : Found
    windows : Windows
        Of everybody.
    made_up : bool
        Whether the people are the study's synthetic cohort.
    """
    people = counted(windows.subjects, "person", "people")
    sites = counted(len(windows.stores), "site")
    return write_page(
        folder / PAGE,
        "brainjepa_simulations.paper_studies",
        "page.html",
        title=study.title,
        subtitle="a study of the paper, " + ("on made-up people" if made_up else "on named data"),
        asks=study.asks,
        size=f"{people} of {sites}, {counted(len(windows.atlas), 'ROI')}.",
        made_up=made_up,
        asked=[_asked(one) for one in found.asked],
        pictures=[(title, Picture.of(drawn, title)) for title, drawn in found.pictures.items()],
        notes=found.notes,
        largest=_largest(found.table),
        published=SimpleNamespace(
            source=study.published.source,
            table=Table.of(study.published.headings, study.published.rows, ("text",))
            if study.published.rows
            else None,
        ),
        sizes=Table.of(("model", "what it is"), found.sizes, ("text", "long"))
        if found.sizes
        else None,
        settings=settings_table(study.model_dump(mode="json", exclude={"published"})),
    )


def shown(value: float, low: float, high: float) -> Cell | str:
    """A figure with its interval; ``n/a`` where it is not known."""
    if not np.isfinite(value):
        return "n/a"
    interval = f"{low:.3f} to {high:.3f}" if np.isfinite([low, high]).all() else "no interval"
    return Cell(f"{value:.3f}", below=(interval,))


def _asked(one: Asked) -> SimpleNamespace:
    found = {(row.model, row.metric): row for row in one.rows}
    lines = []
    for model in dict.fromkeys(row.model for row in one.rows):
        figures = [found.get((model, metric)) for metric in one.metrics]
        cells = [shown(r.mean, r.low, r.high) if r is not None else "n/a" for r in figures]
        lines.append(Row((Cell(model, strong=model in one.subjects), *cells)))
    headings = ("read by", *(metric_label(metric) for metric in one.metrics))
    drawn = forest(one.rows, one.metrics[:2], one.reference, one.subjects)
    return SimpleNamespace(
        title=one.title,
        picture=Picture.of(drawn, f"{one.title}: each model's figures with their intervals"),
        table=Table(headings, lines, ("long",)),
        differences=_differences(one),
        notes=one.notes,
    )


def _differences(one: Asked) -> Table | None:
    if not one.differences:
        return None
    lines = [
        (d.model, d.against, shown(d.difference, d.low, d.high), f"{d.p_holm:.3f}")
        for d in one.differences
    ]
    headings = ("model", "less", metric_label(one.metrics[0]), "p (Holm)")
    return Table.of(headings, lines, ("long", "long"))


def _largest(table: Sequence[Sequence[str]]) -> Table | None:
    """The rows of the smallest p, where a study has a table of its own."""
    if not table:
        return None
    headings, *rows = table
    place = headings.index("p")
    known = [row for row in rows if row[place] != "n/a"]
    return Table.of(headings, sorted(known, key=lambda row: float(row[place]))[:LARGEST],
                    ("text", "text", "text"))  # fmt: skip
