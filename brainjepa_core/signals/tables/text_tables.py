"""Tables of numbers in text: TSV, CSV (also gzipped) and AFNI's .1D, with or without names.

A line of names may lead, and names may stand in front of every row; cells that are empty or n/a are
NaN. Nothing is guessed: a cell that is no number, or a row that is longer or shorter than the
others, is a problem that names its line.
"""

from __future__ import annotations

import gzip
import io
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.problems import plainly
from brainjepa_core.signals.problems import ScanProblem, is_there
from brainjepa_core.signals.tables.cells import has_decimal_comma, is_missing, number

TEXT_ENDINGS = (".tsv", ".csv", ".tsv.gz", ".csv.gz", ".1D")
LEAST_NUMBERED = 5  # columns: 1, 2, 3 could be a frame
Line = tuple[int, list[str]]  # its number and its cells


@dataclass(frozen=True)
class Table:
    """Numbers of a table, and the names around them.

    Attributes
    ----------
    values : ndarray of float64 [rows, columns]
    columns, rows : tuple of str, optional
        Names in the first line, and in front of each row.
    """

    values: Float64
    columns: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None


def read_table(file: Path, names: Sequence[str] = ()) -> Table:
    """Read a whole table.

    Parameters
    ----------
    file : Path
    names : sequence of str
        A first line of these is a line of names, whatever they look like.

    Raises
    ------
    ScanProblem
        If there is none, it is damaged, a cell is no number, or rows differ in length.
    """
    with _damage_named(file), _opened(file) as stream:
        return _parse(_lines(file, io.TextIOWrapper(stream, "utf-8-sig"), names), file, names)


def peek_table(file: Path, names: Sequence[str] = ()) -> tuple[Table, int]:
    """The first row of a table with its names, and how many rows there are.

    Parameters
    ----------
    file : Path
    names : sequence of str
        As in `read_table`.

    Raises
    ------
    ScanProblem
        As `read_table`, as far as the first two lines show.
    """
    with _damage_named(file), _opened(file) as stream:
        lines = _lines(file, io.TextIOWrapper(stream, "utf-8-sig"), names)
        first = list(itertools.islice(lines, 2))
        table = _parse(first, file, names)
        return table, len(table.values) + sum(1 for _ in lines)


def first_row(file: Path) -> Table:
    """The first row of a table with its names.

    Raises
    ------
    ScanProblem
        As `read_table`, as far as the first two lines show.
    """
    with _damage_named(file), _opened(file) as stream:
        lines = _lines(file, io.TextIOWrapper(stream, "utf-8-sig"))
        return _parse(itertools.islice(lines, 2), file)


def _opened(file: Path) -> BinaryIO:
    opened = gzip.open if file.suffix == ".gz" else open
    return cast(BinaryIO, opened(file, "rb"))


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Whatever opening, unpacking and decoding raise, as a problem of this file."""
    is_there(file)  # what was not fetched is told as such
    try:
        yield
    except ScanProblem:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ScanProblem(
            file,
            "numbers, one row a frame",
            plainly(error),
            "write the file again (text in UTF-8, n/a for a missing ROI)",
        ) from error


def _lines(file: Path, stream: IO[str], names: Sequence[str] = ()) -> Iterator[Line]:
    """Cells of lines with something on them, and their numbers counted from 1.

    AFNI marks comments with #, and may write the labels of its columns in one.
    """
    afni = file.suffix == ".1D"
    delimiter = None if afni else "\t" if ".tsv" in file.suffixes else ","  # None: white space
    labels = {*names}
    for place, line in enumerate(stream, 1):
        bare = line.strip()
        if afni and bare.startswith("#"):
            bare = bare.lstrip("# \t")
            if len(bare.split()) < 2 or not labels.issuperset(bare.split()):
                continue
            line, labels = bare, set()
        if bare:
            if delimiter == "," and ";" in bare:
                raise ScanProblem(
                    file,
                    "commas between cells, and points in numbers",
                    f"semicolons in line {place}",
                    "export the table again, as an English one",
                )
            yield place, line.rstrip("\r\n").split(delimiter)


def _bare(cell: str) -> str:
    return cell.strip(' "')


def _parse(lines: Iterable[Line], file: Path, names: Sequence[str] = ()) -> Table:
    rows = iter(lines)
    (line, first), following = next(rows, (1, [""])), next(rows, None)
    second = None if following is None else following[1]
    header = [_bare(cell) for cell in first] if _is_header(first, second, names) else None
    if header is not None:
        line, start = following or (line, [""])
    else:
        start = first
        rows = rows if following is None else itertools.chain([following], rows)
    if not any(map(_bare, start)):
        raise ScanProblem(
            file, "numbers, one row a frame", "no row of numbers", "write the file again"
        )
    labelled = _number(start[0]) is None and not has_decimal_comma(_bare(start[0]))
    # pandas writes its index as a first column without a name: neither names nor signal
    skipped = 1 if labelled or (header and header[0] == "" and len(header) == len(start)) else 0
    values, labels = [], []
    for place, cells in itertools.chain([(line, start)], rows):
        values.append(_numbers(cells, skipped, len(start), file, place))
        labels.append(_bare(cells[0]))
    array = np.array(values, np.float64)
    columns = None if header is None else _column_names(header, array.shape[1], len(start), file)
    return Table(array, columns, tuple(labels) if labelled else None)


def _is_header(cells: Sequence[str], below: Sequence[str] | None, names: Sequence[str]) -> bool:
    """Names, the numbers of labels, or those that pandas gives to columns without names."""
    others = [_number(cell) for cell in cells[1:] or cells]
    if None in others and not any(has_decimal_comma(_bare(cell)) for cell in cells):
        return True
    if names and sorted(map(_bare, cells[-len(names) :])) == sorted(names):
        return True
    if len(cells) < LEAST_NUMBERED:
        return False
    return _running(cells) or (_labels(cells) and below is not None and not _labels(below))


def _labels(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers, each another one, as labels of an atlas are."""
    bare = [_bare(cell).removesuffix(".0") for cell in cells]
    return all(cell.isdecimal() for cell in bare) and len({*bare}) == len(bare)


def _running(cells: Sequence[str]) -> bool:
    """Whether cells count from 0 or 1, perhaps behind a corner without a number."""
    bare = [_bare(cell) for cell in cells]
    numbers = bare if bare[0].isdecimal() else bare[1:]
    return any(numbers == [str(start + place) for place in range(len(numbers))] for start in (0, 1))


def _column_names(
    header: Sequence[str], width: int, cells: int, file: Path
) -> tuple[str, ...] | None:
    """Names of the columns of numbers; R leaves out the one above the names of rows."""
    if len(header) not in (width, cells):
        raise ScanProblem(
            file,
            f"a name for each of {cells} columns",
            f"{len(header)} names in the first line",
            "write the file again",
        )
    if _running(header):
        return None
    own = header[-width:]
    return tuple(name.removesuffix(".0") for name in own) if _labels(own) else tuple(own)


def _number(cell: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is text."""
    cell = _bare(cell)
    return math.nan if is_missing(cell) else number(cell)


def _numbers(cells: Sequence[str], skipped: int, width: int, file: Path, line: int) -> list[float]:
    if len(cells) != width:
        raise ScanProblem(
            file,
            f"{width} cells in every row",
            f"{len(cells)} in line {line}",
            "write the file again; it may have been cut short",
        )
    own = cells[skipped:]
    quick = _quick(own)
    if quick is not None:
        return quick
    found = [_number(cell) for cell in own]
    numbers = [value for value in found if value is not None]
    if len(numbers) < len(found):
        comma = any(has_decimal_comma(_bare(cell)) for cell in own)
        raise ScanProblem(
            file,
            "numbers, one row a frame",
            f"{'a decimal comma' if comma else 'text'} in line {line}",
            "write a point" if comma else "put n/a where a value is missing",
        )
    return numbers


def _quick(cells: Sequence[str]) -> list[float] | None:
    """What `_number` gives where all cells are plain numbers, five times as fast; else None."""
    text = "".join(cells)
    if "_" in text or not text.isascii():
        return None  # `float` would take these for digits
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
