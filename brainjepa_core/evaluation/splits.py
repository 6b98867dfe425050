"""Folds of people: a function of a person's id and a seed, whoever else is there.

Sites can hold people out together without naming anybody, and a person who joins later moves
nobody else to another fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.signals.windows import Windows


def fold_of(subject: str, seed: int, folds: int) -> int:
    """Fold of a person, 0 .. folds - 1, from the SHA-256 of ``<seed>:<subject>``.

    Parameters
    ----------
    subject : str
        The id; it stays where it is.
    seed, folds : int

    Raises
    ------
    ValueError
        If there are fewer than two folds.
    """
    if folds < 2:
        raise ValueError(f"expected at least 2 folds, found {folds}; use 5")
    return int(hashlib.sha256(f"{seed}:{subject}".encode()).hexdigest(), 16) % folds


def folds_of(subjects: Iterable[str], seed: int, folds: int) -> NDArray[np.int64]:
    """Folds [n] of several people."""
    return np.array([fold_of(subject, seed, folds) for subject in subjects], np.int64)


def folds_of_windows(windows: Windows, seed: int, folds: int) -> NDArray[np.int64]:
    """Folds [n] of the people of some windows, in their order."""
    return folds_of((person.records[0].subject for person in windows.people), seed, folds)
