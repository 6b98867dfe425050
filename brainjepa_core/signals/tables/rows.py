"""Rows of tables by the names of their columns; nothing is filled in or dropped."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from brainjepa_core.problems import plainly
from brainjepa_core.signals.tables.cells import is_missing
from brainjepa_core.signals.tables.missing_codes import Codes, is_code


@dataclass(frozen=True)
class Row:
    """Cells by column, and the line of the file that they end on, counted from 1."""

    line: int
    cells: dict[str, str]

    def known(self, without: str, codes: Mapping[str, Codes]) -> dict[str, str]:
        """Cells in which something is known, but for one column.

        Parameters
        ----------
        without : str
        codes : mapping of str to set
            By column, what stands for "not known" there beside the usual words.
        """
        return {
            name: cell
            for name, cell in self.cells.items()
            if name != without and not is_missing(cell) and not is_code(cell, codes[name])
        }


def read_rows(table: Path, needed: str = "", delimiter: str | None = "\t") -> list[Row]:
    """Read a table whose first line names its columns; columns without a name are passed over.

    Parameters
    ----------
    table : Path
        In UTF-8, with or without a byte order mark. Spaces around names and
        cells are not part of them.
    needed : str
        Column that has to be there, if any has.
    delimiter : str, optional
        Between cells; without one a tab in the first line makes it a tab, else a comma.

    Raises
    ------
    ValueError
        If it cannot be read, has no rows, lacks the column, names one twice, or has a row that is
        shorter or longer than its first line. Names the file, the column and the line.
    """
    kind = "a tab-separated table" if delimiter == "\t" else "a table of tabs or commas"
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(_lines(stream, delimiter))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"expected {kind} in UTF-8, found {plainly(error)} in {table.name}; "
            "correct the path, and save the table as UTF-8"
        ) from error
    (_, first), *rows = lines or [(0, [])]
    columns = [name.strip() for name in first]
    if not rows or (needed and needed not in columns):
        raise ValueError(
            f"expected {kind} with {f'a column {needed}' if needed else 'rows'}, found "
            f"{', '.join(filter(None, columns)) if rows else 'no rows'} in {table.name}; "
            f"{'give a BIDS participants.tsv' if needed else 'complete the table'}"
        )
    _refuse_repeated(columns, table)
    for line, cells in rows:
        _refuse_other_length(cells, columns, line, table)
    return [
        Row(line, {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name})
        for line, cells in rows
    ]


def _lines(stream: TextIO, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    if delimiter is None:
        delimiter = "\t" if "\t" in stream.readline() else ","
        stream.seek(0)
    reader = csv.reader(stream, delimiter=delimiter)
    for cells in reader:
        if any(cells):
            yield reader.line_num, cells


def _refuse_repeated(columns: Sequence[str], table: Path) -> None:
    """Refuse a name that is there twice, whatever its case."""
    alike = [name.casefold() for name in columns]
    for place, name in enumerate(alike):
        if name and name in alike[:place]:
            raise ValueError(
                f"expected each column once, found '{columns[place]}' as columns "
                f"{alike.index(name) + 1} and {place + 1} in line 1 of {table.name}; rename or "
                "remove one"
            )


def _refuse_other_length(
    cells: Sequence[str], columns: Sequence[str], line: int, table: Path
) -> None:
    if len(cells) < len(columns):
        raise ValueError(
            f"expected {len(columns)} cells in every row, found {len(cells)} in line {line} of "
            f"{table.name}, none for column '{columns[len(cells)]}'; write n/a where nothing is "
            "known"
        )
    if any(cells[len(columns) :]):
        raise ValueError(
            f"expected {len(columns)} cells in every row, found {len(cells)} in line {line} of "
            f"{table.name}; a tab or comma within a cell, or a column without a name, shifts what "
            "follows"
        )
