"""Balance: groups of alike people, each of which gives its share to every part of a split.

Shapes: n people.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.tasks.settings import TaskData

Index = NDArray[np.int64]
Label = tuple[str, ...]
QUARTILES = (0.25, 0.5, 0.75)


def strata(data: TaskData, rows: Index, least: int) -> Index:
    """Numbers of strata: people alike in class, or quartile of the target, and `stratify` columns.

    Strata of fewer than `least` people are merged with others that are alike in all but the last
    column, then in all but the last two, and so on; those who are still too few join the largest
    stratum of their class (for regression: of all). So each stratum has `least` people, unless a
    class has fewer.

    Parameters
    ----------
    data : TaskData
    rows : ndarray of int64
        The people to be parted. Quartiles are theirs.
    least : int
        People whom a stratum needs, so that every part gets some.

    Returns
    -------
    ndarray of int64
        One number a row.
    """
    first = data.target[rows].astype(str) if data.classes else _quartiles(data.target[rows])
    columns = [first, *(_labels(data, rows, column) for column in data.task.stratify)]
    labels: list[Label] = list(zip(*columns, strict=True))
    for length in range(len(columns) - 1, 0, -1):
        counts = Counter(labels)
        labels = [label if counts[label] >= least else label[:length] for label in labels]
    kept = 1 if data.classes else 0
    counts = Counter(labels)
    for label in [label for label, count in counts.items() if count < least]:
        alike = [other for other in counts if other[:kept] == label[:kept]]
        largest = max(alike, key=lambda other: (counts[other], other))
        labels = [largest if own == label else own for own in labels]
    names = sorted(set(labels))
    return np.array([names.index(label) for label in labels], np.int64)


def part(data: TaskData, rows: Index, share: float, seed: int) -> tuple[Index, Index]:
    """Part a share of people from the others, balanced by strata.

    Parameters
    ----------
    data : TaskData
    rows : ndarray of int64
    share : float
        Of the second part; it has at least one person a class.
    seed : int

    Returns
    -------
    (ndarray of int64, ndarray of int64)
        Rows of the first part and of the second, ascending.

    Raises
    ------
    ValueError
        If there are fewer than two people of a class.
    """
    few, group = smallest_group(data, rows)
    if few < 2:
        raise ValueError(
            f"task '{data.task.name}': expected at least 2 people {group} to learn from, one of "
            f"them to validate by, found {few} among the {len(rows)} of a training part; add "
            "people or sites, use fewer folds, or leave that class out of the task"
        )
    classes = max(1, len(data.classes))
    size = min(max(round(share * len(rows)), classes), len(rows) - classes)
    balanced = strata(data, rows, -(-len(rows) // size))
    if len(set(balanced)) > min(size, len(rows) - size):
        balanced = data.target[rows].astype(np.int64) if data.classes else np.zeros_like(rows)
    # A site's answer to a message has no use of it, and should not wait for its import.
    from sklearn.model_selection import train_test_split

    others, taken = train_test_split(rows, test_size=size, stratify=balanced, random_state=seed)
    return np.sort(others), np.sort(taken)


def smallest_group(data: TaskData, rows: Index) -> tuple[int, str]:
    """People of the rarest class among some rows, with its name; of all of them for regression."""
    if not data.classes:
        return len(rows), "in all"
    counts = np.bincount(data.target[rows].astype(np.int64), minlength=len(data.classes))
    rarest = int(counts.argmin())
    return int(counts[rarest]), f"of class '{data.classes[rarest]}'"


def _quartiles(values: Float64) -> NDArray[np.str_]:
    return np.searchsorted(np.quantile(values, QUARTILES), values).astype(str)


def _labels(data: TaskData, rows: Index, column: str) -> list[str]:
    """Values of a column as text: numbers by their quartile, unknown ones as a value of its own."""
    values = [data.facts[row].get(column) for row in rows]
    numbers = [value for value in values if isinstance(value, float)]
    limits = np.quantile(numbers, QUARTILES) if numbers else ()
    return [
        f"quartile {np.searchsorted(limits, value)}" if isinstance(value, float) else f"{value}"
        for value in values
    ]
