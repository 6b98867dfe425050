"""The people of a site whom the yardstick reads: a fixed sample, so that it does not grow with it.

Shapes: n people, F folds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def yardstick_sample(
    subjects: Sequence[str], folds: ArrayLike, seed: int, size: int
) -> NDArray[np.int64]:
    """Who is read: at most `size` people, the same ones whenever the same people are there.

    Folds take turns, so that each has as many of the sample as its people and the others' allow;
    within a fold people come in the order of the SHA-256 of ``yardstick:<seed>:<subject>``. Who
    joins or leaves moves one other person at most into the sample or out of it.

    Parameters
    ----------
    subjects : sequence of str [n]
        Ids; they stay where they are.
    folds : array of int [n]
    seed, size : int
        Of the study.

    Returns
    -------
    ndarray of int64 [min(n, size)]
        Places of the people, ascending.
    """
    marks = [hashlib.sha256(f"yardstick:{seed}:{s}".encode()).digest() for s in subjects]
    where, before = np.asarray(folds).tolist(), Counter[int]()
    turns: list[tuple[int, bytes, int]] = []
    for person in sorted(range(len(marks)), key=marks.__getitem__):
        turns.append((before[where[person]], marks[person], person))
        before[where[person]] += 1
    return np.sort(np.array([person for *_, person in sorted(turns)[:size]], np.int64))
