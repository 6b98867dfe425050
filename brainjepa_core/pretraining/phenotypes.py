"""Phenotypes that a model learns, of the people of some windows.

Shapes: B people, Q phenotypes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.models.interface import ModelShape
from brainjepa_core.signals.people import Person
from brainjepa_core.signals.tables.missing_codes import suspects
from brainjepa_core.signals.tables.values import known_value


class PeopleToldOf(Protocol):
    """What is asked of data; `brainjepa_core.signals.windows.Windows` is one."""

    people: tuple[Person, ...]
    told_columns: frozenset[str] | None
    """Columns that may be learned; all of them by default."""


def told_phenotypes(windows: PeopleToldOf, people: Iterable[int], shape: ModelShape) -> Float32:
    """Phenotypes [B, Q] as the model learns them, of each person's first scan; NaN where unknown.

    Parameters
    ----------
    windows : PeopleToldOf
    people : iterable of int
    shape : ModelShape
        Whose `learned_phenotypes` they are.
    """
    columns, allowed = shape.learned_phenotypes, windows.told_columns
    rows = []
    for person in people:
        known = windows.people[person].records[0].phenotypes
        rows.append(
            [
                phenotype.encoded(known_value(known.get(phenotype.column)))
                if allowed is None or phenotype.column in allowed
                else np.nan
                for phenotype in columns
            ]
        )
    return np.array(rows, np.float32).reshape(-1, len(columns))


def learnable_columns(
    windows: PeopleToldOf, shape: ModelShape, fewest: int, allowed: Iterable[str] | None
) -> frozenset[str]:
    """Columns that these people can be learned from: allowed, and known of enough of them.

    Parameters
    ----------
    windows : PeopleToldOf
    shape : ModelShape
    fewest : int
        People of whom a number, or each class, has to be known: a head that fewer have moved would
        tell of them.
    allowed : iterable of str, optional
        All are by default.

    Raises
    ------
    ValueError
        If numbers of one of them look like codes for missing. Names the column, and no value.
    """
    everybody, found = range(len(windows.people)), set()
    told = told_phenotypes(windows, everybody, shape)
    may = None if allowed is None else set(allowed)
    for phenotype, values in zip(shape.learned_phenotypes, told.T, strict=True):
        known = values[np.isfinite(values)]
        parts = [known] if phenotype.classes is None else [known[known < 0], known[known > 0]]
        if (may is not None and phenotype.column not in may) or min(map(len, parts)) < fewest:
            continue
        given = (person.records[0].phenotypes.get(phenotype.column) for person in windows.people)
        numbers = [value for v in given if isinstance(value := known_value(v), float)]
        if phenotype.classes is None and suspects(numbers):
            raise ValueError(
                f"expected '{phenotype.column}' to be known or n/a, found numbers that look like "
                "codes for missing; write n/a in the participants table, and import it again"
            )
        found.add(phenotype.column)
    return frozenset(found)
