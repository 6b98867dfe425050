"""Moments of a fold, by somebody who has the scan of a person in it: the person's outcome.

A fold of fewer people than features has ``x' (X'X)^+ x = 1`` for each of its people and less for
anybody else, and then ``x' (X'X)^+ X'y`` is that person's y. One honest answer is enough.

Shapes: P features, Q outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.sums.moments import Moments, moments_from_arrays
from brainjepa_core.wire.messages import EVALUATE, Assignment, Request
from brainjepa_simulations.attacks.asking.insisting import Ask

WITHIN = 1e-6  # of one: how near a person of the fold comes to it
NULL = 1e-9


def outcomes_of_known_people(
    ask: Ask,
    study: Assignment,
    arrays: Arrays,
    scans: Iterable[Float64],
    *,
    pool: str,
    outcome: str,
) -> list[Float64 | None]:
    """Outcomes [Q] of each person whose features are known, None of those who seem absent.

    Parameters
    ----------
    ask : callable
    study : Assignment
        An honest one.
    arrays : dict of str to ndarray
        Of an evaluate request.
    scans : iterable of ndarray [P]
        Features of known scans by the model that is asked about.
    pool, outcome : str
        Of the moments that are read.
    """
    reply = ask(Request(EVALUATE, study, arrays))
    told = moments_from_arrays(reply.arrays) if not reply.refusal else {}
    folds = [m for group, m in told.items() if group[:2] == (pool, outcome) and m.n]
    return [_outcome(folds, person) for person in scans]


def _outcome(folds: Iterable[Moments], person: Float64) -> Float64 | None:
    for told in folds:
        inverse = np.linalg.pinv(told.xx, rcond=NULL, hermitian=True)
        outside = person - told.xx @ (inverse @ person)
        inside = np.linalg.norm(outside) < WITHIN * np.linalg.norm(person)
        if inside and told.n < len(person) and abs(person @ inverse @ person - 1) < WITHIN:
            return np.asarray(person @ inverse @ told.xy, np.float64)
    return None
