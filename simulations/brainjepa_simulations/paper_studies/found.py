"""What a study found: figures of each row of each task, with intervals, and differences.

Everything in the file is plain: a TSV, ``n/a`` where a number is not known.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from brainjepa_core.evaluation.scores.results import Comparison, Row
from brainjepa_core.files import atomic_path

TABLE = "table.tsv"
COLUMNS = ("asked", *(f.name for f in fields(Row) if f.name not in ("task", "protocol", "group")))


@dataclass(frozen=True)
class Asked:
    """What was found of one task, by one way of splitting people.

    Attributes
    ----------
    title : str
        The task; of a transfer also from whom to whom.
    metrics : tuple of str
        That are shown, the one it is judged by first.
    rows : tuple of Row
        Of all rows and metrics.
    reference : str
        Connectivity's row.
    subjects : tuple of str
        Rows of the study's models.
    differences : tuple of Comparison
        Of each model from the first, in the same row.
    notes : tuple of str
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str
    subjects: tuple[str, ...]
    differences: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """All that a study's page shows.

    Attributes
    ----------
    asked : tuple of Asked
    sizes : tuple of (str, str)
        What each model is and was trained on; or why it was left out.
    pictures : dict of str to Figure
        By what they show.
    table : sequence of sequence of str
        Of `attention`: headings, then rows.
    notes : tuple of str
    """

    asked: tuple[Asked, ...] = ()
    sizes: tuple[tuple[str, str], ...] = ()
    pictures: dict[str, Figure] = field(default_factory=dict)
    table: Sequence[Sequence[str]] = ()
    notes: tuple[str, ...] = ()

    def plain(self, page: Path) -> dict[str, object]:
        """What a program reads: all but the pictures, which are on the page."""
        return {
            "asked": self.asked,
            "table": self.table,
            "sizes": self.sizes,
            "notes": self.notes,
            "page": str(page),
        }


def write_table(folder: Path, found: Found) -> Path:
    """Write FOLDER/table.tsv: a line a figure, or the study's own table where it has one."""
    lines: list[Sequence[str]] = list(found.table)
    if found.asked:
        lines = [COLUMNS]
        for asked in found.asked:
            for row in asked.rows:
                told = {**asdict(row), "asked": asked.title}
                lines.append([_cell(told[name]) for name in COLUMNS])
    with (
        atomic_path(folder / TABLE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(lines)
    return folder / TABLE


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if np.isfinite(value) else "n/a"
    return str(value)
