"""Series files of every kind: what scans a file holds, how long they are, and their numbers.

An ROI is known by its name: by the file's own names where it has them (a line of names, labels in
front of rows, an array ``roi``), else by a list of names in the order of columns.

Shapes: F frames, R ROIs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.tables.array_files import ARRAY_ENDINGS, Part, parts_of, read_part
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names
from brainjepa_core.signals.tables.text_tables import TEXT_ENDINGS, Table, peek_table, read_table

Time = Literal["rows", "columns"]
SERIES_ENDINGS = (*TEXT_ENDINGS, *ARRAY_ENDINGS)


def ending(file: Path) -> str:
    """The ending that says what kind of series file it is; empty if it is none."""
    return next((end for end in SERIES_ENDINGS if file.name.endswith(end)), "")


def scans_in(file: Path) -> list[Part]:
    """The scans of a file; a table in text is one without a name.

    Raises
    ------
    ScanProblem
        If an array file is damaged or holds no scan. Of tables, nothing is read.
    """
    return parts_of(file) if ending(file) in ARRAY_ENDINGS else [Part("", "", ())]


def series_shape(
    file: Path, columns: Sequence[str], part: Part | None = None, time: Time | None = None
) -> tuple[int, int]:
    """Frames and ROIs that `read_series` would give; reads headers, and counts lines of text.

    Raises
    ------
    ScanProblem
        If the file is damaged as far as that tells, or does not fit the names.
    """
    part = part or _only(file)
    if ending(file) in ARRAY_ENDINGS:
        table, shape = Table(np.empty((0, 0)), part.columns), part.shape
    else:
        table, rows = peek_table(file, columns)
        shape = (rows, table.values.shape[1])
    if table.rows is None or _known(table.columns, columns):
        _roi_names(table, columns, file)
    return shape[_time_axis(table, shape, columns, file, time)], len(columns)


def read_series(
    file: Path, columns: Sequence[str], part: Part | None = None, time: Time | None = None
) -> Float64:
    """One scan of a series file.

    Parameters
    ----------
    file : Path
        TSV, CSV (also .gz), .1D, NPY, NPZ or HDF5 of [frames, ROIs], or of [ROIs, frames] where
        names or their number tell that it is.
    columns : sequence of str
        Names of the ROIs that are wanted; in a file without names, those of its columns.
    part : Part, optional
        One of `scans_in`; the only one by default.
    time : {"rows", "columns"}, optional
        The site's word on what the frames are; asked for where there are as many frames as ROIs
        and no names.

    Returns
    -------
    ndarray of float64 [F, R]
        In the order of `columns`; a column of NaN is an ROI that is not there.

    Raises
    ------
    ScanProblem
        If the file is damaged, holds no numbers, or does not fit the names.
    """
    part = part or _only(file)
    if ending(file) in ARRAY_ENDINGS:
        table = Table(read_part(file, part), part.columns)
    else:
        table = read_table(file, columns)
    time_axis = _time_axis(table, table.values.shape, columns, file, time)
    names = _roi_names(table, columns, file)
    series = table.values if time_axis == 0 else table.values.T
    if names is None:
        return series
    return in_atlas_order(series.T, names, _wanted(tuple(columns))).T


def refusal(file: Path, error: ValueError) -> ScanProblem:
    """An error ``expected ..., found ...; ...`` as the problem of a file."""
    expected, _, rest = str(error).removeprefix("expected ").partition(", found ")
    found, _, mend = rest.rpartition("; ")
    return ScanProblem(file, expected, found, mend)


def _only(file: Path) -> Part:
    parts = scans_in(file)
    if len(parts) > 1:
        raise ScanProblem(
            file,
            "one scan in a file",
            f"{len(parts)}",
            "prepare the folder as input of kind 'series', which takes each",
        )
    return parts[0]


@lru_cache(maxsize=8)
def _wanted(columns: tuple[str, ...]) -> Atlas:
    return Atlas.from_names(columns, "names of the series")


def _known(names: Sequence[str] | None, columns: Sequence[str]) -> bool:
    if names is None:
        return False
    wanted = _wanted(tuple(columns))
    try:
        return not set(wanted.rois).isdisjoint(to_atlas_names(names, wanted))
    except ValueError:
        return True  # names of ROIs, though wrong ones: whoever maps them says what is wrong


def _roi_names(table: Table, columns: Sequence[str], file: Path) -> Sequence[str] | None:
    """Names of the table's own ROIs; None where they are those of `columns`, one by one."""
    by_rows = table.rows is not None and not _known(table.columns, columns)
    names = table.rows if by_rows else table.columns
    if names is not None:
        wanted = _wanted(tuple(columns))
        try:
            wanted.rows_of(to_atlas_names(names, wanted))
        except ValueError as error:
            raise refusal(file, error) from error
    return names


def _time_axis(
    table: Table, shape: tuple[int, ...], columns: Sequence[str], file: Path, time: Time | None
) -> int:
    if table.rows is not None:
        return 0 if _known(table.columns, columns) else 1
    count = len(table.columns or columns)
    if len(shape) != 2 or count not in shape:
        raise ScanProblem(
            file,
            f"{count} columns, one a name",
            f"shape {list(shape)}",
            "check that the names file belongs to these scans",
        )
    if shape[0] != shape[1]:
        return 0 if shape[1] == count else 1
    if table.columns is not None and ending(file) not in ARRAY_ENDINGS:
        return 0  # a line of names stands above its columns
    if time is None:
        raise ScanProblem(
            file,
            "another number of frames than of ROIs, or word of which axis is time",
            f"{count} of both",
            "say which axis is time: rows or columns (input.time, --time), or write the names of "
            "the ROIs into the file",
        )
    return 0 if time == "rows" else 1
