"""docs/studies.md, written from what `paper_studies.py` keeps of each study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_simulations.paper_studies.settings import PaperStudy, load_study

Told = dict[str, Any]
METRICS = 2  # of a task that the page shows, the one it is judged by first
LARGEST = 8  # rows of a study's own table
HEAD = """# The paper's studies on ABIDE

Written by `python benchmarks/learning/paper_studies.py`; do not edit it by hand. Every study is as
it is shipped (`brainjepa simulate study NAME --data FOLDER`, [what they
are](evaluation.md#the-papers-studies)): tiny networks, 200 steps of 16 windows, one seed, five
folds of people. The 687 people are of twelve hospitals of ABIDE I, read at the 110 regions of
Harvard-Oxford; for positions at Brain-JEPA's 450, whose places are known, by a map of 310 regions
to them, a stand-in for reading scans there. So a line says what a few minutes of one core show, not
what the paper's sizes would; intervals are of 95 %, over people, not over trainings. The first
model without its training is there, too (*random weights*), since connectivity can be read off any
weights.
"""


def page(known: Mapping[str, Told | None], not_here: Mapping[str, str]) -> str:
    """The whole page.

    Parameters
    ----------
    known : mapping
        What was told of each study by name; None where it was not run.
    not_here : mapping
        Why a study is not for these people.
    """
    parts = [HEAD]
    for name, told in known.items():
        study = load_study(name)
        parts.append(f"## {study.title}\n\n{study.asks} `brainjepa simulate study {name}`\n")
        if name in not_here:
            parts.append(f"Not on ABIDE: the study {not_here[name]}. On made-up people it runs.\n")
        elif told is None:
            parts.append("Not run yet.\n")
        else:
            parts += _told(study, told)
    return "\n".join(parts)


def _told(study: PaperStudy, told: Told) -> list[str]:
    parts = [_asked(one) for one in told["asked"]]
    if told["table"]:
        parts.append(_largest(told["table"]))
    if study.published.rows:
        parts.append("In the paper:\n\n" + _lines(study.published.headings, study.published.rows))
    parts.append(f"{_sentence(study.published.source)}\n")
    parts.append("".join(f"- {name}: {what}.\n" for name, what in told["sizes"]))
    parts += [f"{_sentence(note)}\n" for note in told["notes"]]
    return [*parts, f"{told['seconds']:,} seconds of {told.get('machine', 'a core')}.\n"]


def _asked(one: Told) -> str:
    """Everything that was asked, and what the models' rows have above that of the first."""
    metrics = one["metrics"][:METRICS]
    figures = {(row["model"], row["metric"]): row for row in one["rows"]}
    less = {row["model"]: row for row in one["differences"]}
    names = dict.fromkeys(row["model"] for row in one["rows"])
    headings = [one["title"], *(metric_label(metric) for metric in metrics)]
    lines = [
        [name, *(_figure(figures.get((name, metric)), "mean") for metric in metrics)]
        for name in names
    ]
    if less:
        headings.append("less the first model")
        lines = [[*line, _figure(less.get(line[0]), "difference")] for line in lines]
    return _lines(headings, lines)


def _figure(row: Told | None, middle: str) -> str:
    """``0.712 (0.675 to 0.750)``; a difference has its sign; nothing where it is not known."""
    if row is None or row[middle] is None or math.isnan(row[middle]):
        return ""
    sign = "+" if middle == "difference" else ""
    return f"{row[middle]:{sign}.3f} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})"


def _largest(table: Sequence[Sequence[str]]) -> str:
    headings, *rows = table
    place = headings.index("p")
    known = sorted((row for row in rows if row[place] != "n/a"), key=lambda row: float(row[place]))
    return f"The {LARGEST} of smallest p, of {len(rows)}:\n\n" + _lines(headings, known[:LARGEST])


def _lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
