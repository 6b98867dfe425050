"""Moments of folds that share one person: the spans of two folds meet in that person alone.

A fold of fewer people than features tells the space that their embeddings span, ``X'X`` its size
along each direction, and ``X'y`` the outcome of whoever lies along one. Nobody is known beforehand.

Shapes: P features, n people of a fold, n < P.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.sums.moments import Moments, moments_from_arrays
from brainjepa_core.wire.messages import EVALUATE, Assignment
from brainjepa_simulations.attacks.asking.insisting import Ask, insist, seeded

NULL = 1e-9  # of the largest eigenvalue: below, a direction is nobody's
SHARED, APART = 1e-9, 1e-3  # sines of angles between spans: of none, and of one that surely is


def people_from_moments(
    ask: Ask,
    study: Assignment,
    arrays: Arrays,
    *,
    pool: str,
    outcome: str,
    folds: int,
    seeds: Iterable[int] = range(8),
) -> list[tuple[Float64, Float64]]:
    """Embedding [P] (up to its sign) and outcomes [Q] (up to the same) of people of two folds.

    Parameters
    ----------
    ask : callable
    study : Assignment
    arrays : dict of str to ndarray
        Of an evaluate request.
    pool, outcome : str
        Of the moments that are read.
    folds : int
        Into how many the people are split; folds should be smaller than P.
    seeds : iterable of int
        Of the splits that are asked about.
    """
    spans: list[tuple[int, Moments, Float64]] = []
    for seed in seeds:
        changes = {"folds": folds, "pretraining": seeded(study, seed)}
        reply = insist(ask, EVALUATE, study, arrays, **changes)
        for group, told in moments_from_arrays(reply.arrays).items() if reply.arrays else ():
            if (group.pool, group.outcome) == (pool, outcome) and 0 < told.n < len(told.x_sum):
                spans.append((seed, told, _span(told)))
    found: list[tuple[Float64, Float64]] = []
    for (seed, one, span), (other_seed, _, other) in combinations(spans, 2):
        if seed == other_seed or span.shape[1] + other.shape[1] > len(span):
            continue  # nobody is in two folds of a split; large spans meet without a person
        # Sines of the angles between the two, descending, and where in the other one they lie.
        _, sines, where = np.linalg.svd(other - span @ (span.T @ other), full_matrices=False)
        if sines[-1] < SHARED and (len(sines) == 1 or sines[-2] > APART):
            person = _along(one, other @ where[-1])
            if not any(_alike(person[0], known) for known, _ in found):
                found.append(person)
    return found


def _span(told: Moments) -> Float64:
    """An orthonormal basis [P, n] of the embeddings of a fold."""
    values, vectors = np.linalg.eigh(told.xx)
    return np.asarray(vectors[:, values > NULL * values[-1]])


def _along(told: Moments, direction: Float64) -> tuple[Float64, Float64]:
    """The person of a fold who lies along a direction: ``x' (X'X)^+ x = 1`` for each of them."""
    inverse = np.linalg.pinv(told.xx, rcond=NULL, hermitian=True)
    person = direction / np.sqrt(direction @ inverse @ direction)
    return person, person @ inverse @ told.xy


def _alike(one: Float64, other: Float64) -> bool:
    size = float(np.linalg.norm(other))
    return bool(min(np.linalg.norm(one - other), np.linalg.norm(one + other)) < 1e-4 * size)
