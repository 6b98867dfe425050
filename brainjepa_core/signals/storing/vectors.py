"""Vectors of other modalities beside a store's scans: T1, diffusion, clinical numbers, by person.

::

    vectors/NAME.npz     subject [n], column [P], values float64 [n, P], NaN where unknown

They are of people who have a scan in the store, and leave it with them.

Shapes: n people, P columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64, load_arrays, save_arrays
from brainjepa_core.origin import digest
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.scan_table import array_digest
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.tables.cells import is_missing, number_or_text
from brainjepa_core.signals.tables.labels import join_labels, person_label
from brainjepa_core.signals.tables.missing_codes import Codes, codes_of, is_code, suspects
from brainjepa_core.signals.tables.phenotypes import PERSON
from brainjepa_core.signals.tables.rows import Row, read_rows
from brainjepa_core.signals.windows import Windows

FOLDER = "vectors"
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, eq=False)
class Vectors:
    """One modality's numbers of people.

    Attributes
    ----------
    subjects : tuple of str
        As the store names them.
    columns : tuple of str
    values : ndarray of float64 [n, P]
        NaN where unknown.
    """

    subjects: tuple[str, ...]
    columns: tuple[str, ...]
    values: Float64


def import_vectors(
    store: ScanStore, name: str, table: Path, missing: Sequence[float | str] = ()
) -> tuple[int, int]:
    """Keep a table's numbers of the people of a store, in the place of those of that name.

    Parameters
    ----------
    store : ScanStore
    name : str
        Of the modality, such as ``t1``.
    table : Path
        Tabs or commas; a column ``participant_id``, a row a person, all others numbers.
    missing : sequence
        What stands for "not known" beside n/a and the like. Once something is said, every other
        number is one.

    Returns
    -------
    (int, int)
        People who have numbers now, and rows whose people have no scan here.

    Raises
    ------
    ValueError
        If the name or the table cannot be used, numbers look like codes for missing, a person has
        two rows, or nobody has a scan.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"expected a name of 1 to 40 letters, digits, - and _, found '{name}'; rename it"
        )
    labels, columns, values = _read(table, missing)
    with store.writing():  # nobody leaves between a look at the store and the write
        subjects = {person_label(record.subject): record.subject for record in store.records}
        joined = join_labels(subjects, labels)
        if not joined:
            raise ValueError(
                f"expected rows of people of this store, found none of {len(labels)} rows of "
                f"{table.name} and {len(subjects)} people; spell labels as the store does"
            )
        place = {label: row for row, label in enumerate(labels)}
        ours = sorted(joined)
        kept = Vectors(
            tuple(subjects[label] for label in ours),
            columns,
            values[[place[joined[label]] for label in ours]],
        )
        _write(store.path, name, kept)
    return len(ours), len(labels) - len(ours)


def vectors_of_store(store: Path) -> dict[str, Vectors]:
    """All vectors beside a store, by name."""
    found = {}
    for path in sorted((store / FOLDER).glob("*.npz")):
        arrays = load_arrays(path)
        found[path.stem] = Vectors(
            tuple(str(subject) for subject in arrays["subject"]),
            tuple(str(column) for column in arrays["column"]),
            arrays["values"],
        )
    return found


def keep_people_of(store: ScanStore, also: Collection[str] = ()) -> None:
    """Take vectors of people who have no scan in the store any more out of its files.

    Parameters
    ----------
    store : ScanStore
    also : collection of str
        Subjects who keep theirs: their scans are still to come.
    """
    here = {record.subject for record in store.records} | set(also)
    for name, vectors in vectors_of_store(store.path).items():
        stay = [row for row, subject in enumerate(vectors.subjects) if subject in here]
        if len(stay) < len(vectors.subjects):
            subjects = tuple(vectors.subjects[row] for row in stay)
            _write(store.path, name, Vectors(subjects, vectors.columns, vectors.values[stay]))


def vectors_of(windows: Windows) -> dict[str, Float64]:
    """Vectors [people of the windows, P] by name; NaN of people who have none.

    Raises
    ------
    ValueError
        If two sites have other columns under one name.
    """
    stores = [vectors_of_store(store.path) for store in windows.stores]
    found = {}
    for name in sorted(set().union(*stores)):
        (columns, *others) = dict.fromkeys(v[name].columns for v in stores if name in v)
        if others:
            raise ValueError(
                f"expected the same columns of vectors '{name}' at all sites, found "
                f"{len(others) + 1} lists of them; import them again from tables of one form"
            )
        values = np.full((windows.subjects, len(columns)), np.nan)
        rows = [{s: v[name].values[i] for i, s in enumerate(v[name].subjects)} if name in v else {}
                for v in stores]  # fmt: skip
        for number, person in enumerate(windows.people):
            values[number] = rows[person.store].get(person.records[0].subject, np.nan)
        found[name] = values
    return found


def vectors_digest(windows: Windows) -> str:
    """Of all vectors of the windows' people, for `brainjepa_core.origin`."""
    return digest([[name, array_digest(values)] for name, values in vectors_of(windows).items()])


def _write(store: Path, name: str, vectors: Vectors) -> None:
    save_arrays(
        store / FOLDER / f"{name}.npz",
        {
            "subject": np.array(vectors.subjects, np.str_),
            "column": np.array(vectors.columns, np.str_),
            "values": np.asarray(vectors.values, np.float64),
        },
    )


def _read(
    table: Path, missing: Sequence[float | str]
) -> tuple[list[str], tuple[str, ...], Float64]:
    rows = read_rows(table, delimiter=None)
    columns = tuple(name for name in rows[0].cells if name != PERSON)
    if PERSON not in rows[0].cells or not columns:
        raise ValueError(
            f"expected a column {PERSON} and columns of numbers, found "
            f"{', '.join(rows[0].cells)} in {table.name}; complete the table"
        )
    labels = [person_label(row.cells[PERSON]) for row in rows]
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"expected each person once, found {len(labels) - len(set(labels))} listed again in "
            f"{table.name}; keep one row a person"
        )
    codes = codes_of(missing)
    values = {column: [_number(row, column, codes, table) for row in rows] for column in columns}
    if not codes:
        for column, numbers in values.items():
            _refuse_codes(column, numbers, table)
    return labels, columns, np.array([*values.values()], np.float64).T


def _number(row: Row, column: str, codes: Codes, table: Path) -> float:
    cell = row.cells[column]
    if is_missing(cell) or is_code(cell, codes):
        return np.nan
    value = number_or_text(cell)
    if not isinstance(value, float):
        raise ValueError(
            f"expected numbers or n/a in column '{column}' of {table.name}, found text; write "
            "categories as columns of 0 and 1, or leave the column out"
        )
    return value


def _refuse_codes(column: str, numbers: Iterable[float], table: Path) -> None:
    """Refuse numbers that look like codes for "not known", of which a mean would be made."""
    for code, count in suspects(value for value in numbers if not np.isnan(value)).items():
        raise ValueError(
            f"expected numbers or n/a in column '{column}' of {table.name}, found {code:g} in "
            f"{counted(count, 'row')}, which looks like a code for missing; say --missing "
            f"{code:g}, or --missing n/a if it is a number"
        )
