"""Vectors of other modalities beside a store's scans: T1, diffusion, clinical numbers, by person.

::

    vectors/NAME.npz     subject [n], column [P], values float64 [n, P], NaN where unknown

They are of people who have a scan in the store, and leave it with them.

Shapes: n people, P columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64, load_arrays, save_arrays
from brainjepa_core.origin import digest
from brainjepa_core.signals.storing.scan_table import array_digest
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.tables.cells import is_missing, number_or_text
from brainjepa_core.signals.tables.cohort_tables import read_cells
from brainjepa_core.signals.tables.labels import join_labels, person_label
from brainjepa_core.signals.tables.phenotypes import PERSON
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


def import_vectors(store: ScanStore, name: str, table: Path) -> tuple[int, int]:
    """Keep a table's numbers of the people of a store, in the place of those of that name.

    Parameters
    ----------
    store : ScanStore
    name : str
        Of the modality, such as ``t1``.
    table : Path
        Tabs or commas; a column ``participant_id``, a row a person, all others numbers.

    Returns
    -------
    (int, int)
        People who have numbers now, and rows whose people have no scan here.

    Raises
    ------
    ValueError
        If the name or the table cannot be used, a person has two rows, or nobody has a scan.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"expected a name of 1 to 40 letters, digits, - and _, found '{name}'; rename it"
        )
    labels, columns, values = _read(table)
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
    with store.writing():
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


def keep_people_of(store: ScanStore) -> None:
    """Take vectors of people who have no scan in the store any more out of its files."""
    here = {record.subject for record in store.records}
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


def _read(table: Path) -> tuple[list[str], tuple[str, ...], Float64]:
    rows = read_cells(table)
    columns = tuple(name for name in (rows[0] if rows else ()) if name != PERSON)
    if not rows or PERSON not in rows[0] or not columns:
        raise ValueError(
            f"expected a column {PERSON} and columns of numbers, found "
            f"{', '.join(rows[0]) if rows else 'no rows'} in {table.name}; complete the table"
        )
    labels = [person_label(row[PERSON]) for row in rows]
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"expected each person once, found {len(labels) - len(set(labels))} listed again in "
            f"{table.name}; keep one row a person"
        )
    return labels, columns, np.array([[_number(row, c, table) for c in columns] for row in rows])


def _number(row: dict[str, str], column: str, table: Path) -> float:
    if is_missing(row[column]):
        return np.nan
    value = number_or_text(row[column])
    if not isinstance(value, float):
        raise ValueError(
            f"expected numbers or n/a in column '{column}' of {table.name}, found text; write "
            "categories as columns of 0 and 1, or leave the column out"
        )
    return value
