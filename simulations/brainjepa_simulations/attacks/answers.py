"""Is the person of a scan behind an answer? Membership by sums, moments and scores, by people.

Who attacks has scans of candidates, half of whom or fewer are behind the answer: the very scan that
the site has, or another one of the same person. From the answer and a scan comes a figure that is
larger for those behind it; its AUC says how well they are told from the others: 0.5 is guessing.
Candidates are of one population, so that nothing but taking part differs.

Shapes: N candidates, n of them behind the answer, P numbers of a person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from brainjepa_core.arrays import Float64
from brainjepa_core.sums.ridge import held_out_r2
from brainjepa_core.wire.told_numbers import told_r2

NULL = 1e-9  # of the largest eigenvalue: below, a direction is nobody's
SHADOWS = 300  # sets of candidates whose scores the attacker finds for itself
FOLDS = 5


@dataclass(frozen=True)
class Behind:
    """How well people behind an answer are told from others.

    Attributes
    ----------
    people : int
        n.
    same, other : float
        AUC by the scan that the site has, and by another one of the same person.
    """

    people: int
    same: float
    other: float


Figures = Callable[[Float64, Float64, NDArray[np.int64], np.random.Generator], Float64]
"""Takes what the site has of all candidates [N, P], the attacker's scans [N, P], the places of
those behind the answer [n] and a generator; gives a figure for each candidate [N]."""


def from_sum(
    held: Float64, scans: Float64, members: NDArray[np.int64], _: np.random.Generator
) -> Float64:
    """How a scan lies along the way from the mean of other people to that of the answer.

    The test of Homer et al. (PLoS Genetics 2008), with a public mean of candidates who are not
    behind the answer.
    """
    told = held[members].sum(0)
    public = (held.sum(0) - told) / (len(held) - len(members))
    along = told / len(members) - public
    found: Float64 = scans @ along  # less what is the same for everybody
    return found


def from_moments(
    held: Float64, scans: Float64, members: NDArray[np.int64], _: np.random.Generator
) -> Float64:
    """How little of a scan lies where nobody's does, and how little it stands out of the others.

    With fewer people than features all of a member lies in the span of ``X'X``. With more, the
    leverage ``x' inv(X'X) x`` of a member is a / (1 + a) where it is a for anybody else.
    """
    products = held[members].T @ held[members]
    values, vectors = np.linalg.eigh(products)
    kept = values > NULL * values[-1]
    along = (scans @ vectors[:, kept]) ** 2
    squares = (scans**2).sum(1)
    outside = np.maximum(squares - along.sum(1), 0) / squares
    found: Float64 = -(outside / NULL + (along / values[kept]).sum(1))
    return found


def from_score(
    held: Float64, scans: Float64, members: NDArray[np.int64], rng: np.random.Generator
) -> Float64:
    """Whether a score in three digits is like those of sets with a candidate, or those without.

    The attacker finds scores of many sets of candidates. The last number of a person is the
    outcome, the others are features.
    """
    told = told_r2(_score(held[members]))
    inside = np.zeros((SHADOWS, len(scans)), np.bool_)
    for one in inside:
        one[rng.choice(len(scans), len(members), replace=False)] = True
    scores = np.array([_score(scans[one]) for one in inside])
    with_them = scores @ inside / np.maximum(inside.sum(0), 1)
    without = scores @ ~inside / np.maximum((~inside).sum(0), 1)
    found: Float64 = (told - (with_them + without) / 2) * (with_them - without)
    return found


def _score(people: Float64) -> float:
    folds = np.arange(len(people)) % FOLDS
    return float(held_out_r2(people[:, :-1], people[:, -1:], folds, alphas=(1.0, 100.0, 1e4))[0])


def told_apart(
    figures: Figures, same: Float64, other: Float64, people: int, draws: int = 10, seed: int = 0
) -> Behind:
    """Mean AUC over draws of the people behind an answer.

    Parameters
    ----------
    figures : callable
    same, other : ndarray [N, P]
        Of the scan that the site has of each candidate, and of another one.
    people : int
        n, at most half of the candidates.
    draws, seed : int

    Raises
    ------
    ValueError
        If there are too few candidates.
    """
    count = len(same)
    if not 1 <= people <= count // 2:
        raise ValueError(
            f"expected at most half of the {count} candidates behind an answer, found {people}; "
            "take fewer, or more candidates"
        )
    found = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, people, draw])
        members = rng.choice(count, people, replace=False)
        found.append([auc(figures(same, scans, members, rng), members) for scans in (same, other)])
    means = np.mean(found, axis=0).tolist()
    return Behind(people, *means)


def auc(figures: Float64, members: NDArray[np.int64]) -> float:
    """How often a member's figure [N] is above that of somebody else; equal ones count half."""
    ranks, n = rankdata(figures), len(members)
    above = ranks[members].sum() - n * (n + 1) / 2
    return float(above / (n * (len(ranks) - n)))
