"""Folds of people: which rule is used where, and why there are two.

`fold_of` is a function of a person's id and a seed, whoever else is there. Sites can hold people
out together without naming anybody, and a person who joins later moves nobody else to another fold.
It decides who is held out of pretraining, who is tested by the yardstick (of a federation, of its
baselines, of `measure`) and by the probe of all sites: one person is in one fold in all of these
tables. It balances nothing, so that a small cohort may have an empty fold.

`cutter` deals people out evenly by class or quartile, in an order drawn by a seed. It is for tables
that one machine makes with all its people at hand: protocols ``kfold`` and ``personalised`` (seed:
the repetition; ``holdout`` takes its shares by the same strata), and what a method learns within
its training part (the penalty of a logistic regression). There a class of five people has to be in
every fold, which no rule of single ids can promise; whom it tests depends on who else is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.signals.windows import Windows

if TYPE_CHECKING:
    from sklearn.model_selection import KFold, StratifiedKFold


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


def cutter(folds: int, seed: int, *, balanced: bool = True) -> StratifiedKFold | KFold:
    """Folds of the people at hand, evenly by class or quartile; without one, by number alone.

    Parameters
    ----------
    folds : int
        No more than the rarest class has people.
    seed : int
        Of the order in which people are dealt out.
    balanced : bool
        Whether ``split`` is given classes to balance.
    """
    # A message's answer needs `fold_of` alone, and this import takes a second.
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if balanced else KFold
    return kind(folds, shuffle=True, random_state=seed)


def folds_of(subjects: Iterable[str], seed: int, folds: int) -> NDArray[np.int64]:
    """Folds [n] of several people."""
    return np.array([fold_of(subject, seed, folds) for subject in subjects], np.int64)


def folds_of_windows(windows: Windows, seed: int, folds: int) -> NDArray[np.int64]:
    """Folds [n] of the people of some windows, in their order."""
    return folds_of((person.records[0].subject for person in windows.people), seed, folds)
