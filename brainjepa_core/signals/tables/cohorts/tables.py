"""From the tables that a cohort hands out to one ``participants.tsv``, by the cohort's recipe.

No error names a person or a value: they say which table, which column, and how many rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from brainjepa_core.files import atomic_path
from brainjepa_core.problems import counted
from brainjepa_core.signals.tables.cells import is_missing, number_or_text
from brainjepa_core.signals.tables.cohorts.recipes import CohortColumn, CohortRecipe, CohortTable
from brainjepa_core.signals.tables.labels import person_label
from brainjepa_core.signals.tables.missing_codes import codes_of, is_code
from brainjepa_core.signals.tables.phenotypes import PERSON
from brainjepa_core.signals.tables.rows import read_rows

UNKNOWN = "n/a"
Cells = dict[str, str]


@dataclass
class CohortPhenotypes:
    """What a cohort's tables tell.

    Attributes
    ----------
    people : dict of str to dict
        Our columns of each person; unknown ones are not there.
    columns : dict of str to str
        Where each column that was read is documented.
    notes : list of str
        What should be known of the tables; names nobody.
    """

    people: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_cohort(
    recipe: CohortRecipe, files: Sequence[Path], named: Mapping[str, str] | None = None
) -> CohortPhenotypes:
    """Read a cohort's tables.

    Parameters
    ----------
    recipe : CohortRecipe
    files : sequence of Path
        Each is taken for the recipe's table most of whose columns it has: comma or tab between
        cells, in any order, under any file name.
    named : mapping of str to str, optional
        The cohort's name of one of our columns, where the recipe's is another or there is none.

    Raises
    ------
    ValueError
        If a file is none of the recipe's tables, a person has several rows that the recipe does
        not choose from, two tables contradict each other, or a name fits no column.
    """
    recipe = _named(recipe, named or {})
    found = CohortPhenotypes()
    for file in files:
        rows = [row.cells for row in read_rows(file, delimiter=None)]
        table, person = _table_of(recipe, file, list(rows[0]))
        rows = rows[1:] if table.descriptions else rows
        read = [
            _Reader(name, column)
            for name, column in table.columns.items()
            if (column.source or column.flags) and _has(column, rows)
        ]
        chosen = _one_a_person(table, person, rows, file)
        for label, row in chosen.items():
            _add(found.people.setdefault(label, {}), row, read, file)
        found.columns |= {reader.name: reader.column.documented for reader in read}
        found.notes += _notes(table, read, chosen.values(), file)
    return found


def write_participants(path: Path, found: CohortPhenotypes) -> None:
    """Write a table that ``prepare``, ``import`` and ``relabel`` read, and its JSON beside it."""
    names = list(found.columns)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow([PERSON, *names])
        for label, told in sorted(found.people.items()):
            writer.writerow([f"sub-{label}", *(told.get(name, UNKNOWN) for name in names)])
    with atomic_path(path.with_suffix(".json")) as temporary:
        facts = {name: {"Description": text} for name, text in found.columns.items()}
        temporary.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _named(recipe: CohortRecipe, named: Mapping[str, str]) -> CohortRecipe:
    known = {name for table in recipe.tables for name in table.columns} | {PERSON}
    for name in named:
        if name not in known:
            raise ValueError(
                f"expected one of {', '.join(sorted(known))} to be named for {recipe.cohort}, "
                f"found '{name}'; correct it, or write a recipe of your own"
            )
    tables = []
    for table in recipe.tables:
        columns = {
            name: column.model_copy(update={"source": (named[name],), "flags": {}})
            if name in named
            else column
            for name, column in table.columns.items()
        }
        person = (named[PERSON],) if PERSON in named else table.person
        tables.append(table.model_copy(update={"columns": columns, "person": person}))
    return recipe.model_copy(update={"tables": tuple(tables)})


def _table_of(recipe: CohortRecipe, file: Path, columns: Sequence[str]) -> tuple[CohortTable, str]:
    """The recipe's table that a file is, and the name of its column of people."""
    best: tuple[int, CohortTable, str] | None = None
    for table in recipe.tables:
        person = next((name for name in table.person if name in columns), None)
        count = sum(_is_in(column, columns) for column in table.columns.values())
        if person is not None and count and (best is None or count > best[0]):
            best = count, table, person
    if best is None:
        wanted = "; or ".join(_wanted(table) for table in recipe.tables)
        raise ValueError(
            f"expected a table of {recipe.cohort} with columns {wanted}; found "
            f"{', '.join(columns[:6]) or 'none'}{' ...' if len(columns) > 6 else ''} in "
            f"{file.name}; give another file, or name columns (--column OURS=THEIRS)"
        )
    return best[1], best[2]


def _wanted(table: CohortTable) -> str:
    sources = [
        column.source[0] if column.source else next(iter(column.flags), f"{name} (yours to name)")
        for name, column in table.columns.items()
    ]
    return f"{table.person[0]} and {' or '.join(sources)} ({table.called})"


def _is_in(column: CohortColumn, columns: Sequence[str]) -> bool:
    return any(name in columns for name in (*column.source, *column.flags))


def _has(column: CohortColumn, rows: Sequence[Cells]) -> bool:
    return bool(rows) and _is_in(column, list(rows[0]))


def _one_a_person(
    table: CohortTable, person: str, rows: Sequence[Cells], file: Path
) -> dict[str, Cells]:
    """The row of each person, by a label as BIDS allows it: letters and digits."""
    chosen: dict[str, Cells] = {}
    again = 0
    keep = {name: codes_of(values) for name, values in table.keep.items()}
    for row in sorted(rows, key=lambda row: _order(row, table.first_by)):
        label = re.sub(r"[^0-9A-Za-z]", "", person_label(row[person]))
        if not label or not all(is_code(row.get(name, ""), v) for name, v in keep.items()):
            continue
        if label in chosen:
            again += _order(chosen[label], table.first_by) == inf
            continue
        chosen[label] = row
    if again:
        by = f" and no number in {table.first_by} to choose by" if table.first_by else ""
        raise ValueError(
            f"expected one row a person in {file.name} ({table.called}), found {again} more{by}; "
            "take the rows of one visit, or say first_by in a recipe of your own"
        )
    if not chosen:
        kept = "; ".join(f"{name} of {', '.join(map(str, v))}" for name, v in table.keep.items())
        raise ValueError(
            f"expected people in {file.name} ({table.called}){f' with {kept}' if kept else ''}, "
            "found nobody; give another file, or a recipe of your own"
        )
    return chosen


def _order(row: Cells, column: str) -> float:
    """A row's number in the column that visits are chosen by; infinite where it has none."""
    value = number_or_text(row.get(column, ""))
    return value if isinstance(value, float) else inf


@dataclass
class _Reader:
    """How one of our columns is read, its codes in the form in which cells are compared."""

    name: str
    column: CohortColumn

    def __post_init__(self) -> None:
        self.missing = codes_of(self.column.missing)
        told = (self.column.codes or {}).items()
        self.words = [(codes_of([code]), str(word)) for code, word in told]

    def value(self, row: Cells) -> str | None:
        """What a row tells, in our words; nothing where it is not known."""
        if self.column.flags:
            flags = self.column.flags.items()
            return next(
                (word for name, word in flags if number_or_text(row.get(name, "")) == 1), None
            )
        cell = self._cell(row)
        if not self._known(cell):
            return None
        if self.column.codes is not None:
            return next((word for code, word in self.words if is_code(cell, code)), None)
        value = number_or_text(cell)
        return f"{value / self.column.per:.10g}" if isinstance(value, float) else cell

    def is_strange(self, row: Cells) -> bool:
        """Whether a cell says something that none of the codes is."""
        return (
            self.column.codes is not None
            and self._known(self._cell(row))
            and self.value(row) is None
        )

    def _cell(self, row: Cells) -> str:
        return next((row[name] for name in self.column.source if name in row), "")

    def _known(self, cell: str) -> bool:
        return not is_missing(cell) and not is_code(cell, self.missing)


def _add(known: dict[str, str], row: Cells, read: Sequence[_Reader], file: Path) -> None:
    for reader in read:
        value = reader.value(row)
        if value is None:
            continue
        if known.setdefault(reader.name, value) != value:
            raise ValueError(
                f"expected one value of '{reader.name}' a person, found another in {file.name} "
                "than in the tables before it; give the tables of one visit"
            )


def _notes(
    table: CohortTable, read: Sequence[_Reader], rows: Collection[Cells], file: Path
) -> list[str]:
    """Columns that are not there, and cells whose codes the recipe does not know."""
    names = {reader.name for reader in read}
    lacking = [name for name in table.columns if name not in names]
    notes = []
    if lacking:
        notes.append(f"{file.name}: nothing of {', '.join(lacking)}")
    for reader in read:
        strange = sum(map(reader.is_strange, rows))
        if strange:
            notes.append(
                f"{file.name}: {counted(strange, 'row')} whose {reader.name} has a code that the "
                "recipe does not know; left unknown"
            )
    return notes
