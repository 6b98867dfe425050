"""Sums over all but one fold of people, for many splits: solved for the people.

The coordinator knows the people's labels (those of a public data set, or numbers), and so who is in
which fold: folds are a function of label and seed. A sum over the others is a row of an equation;
enough of them have one solution, each person's connectivity.

Shapes: n people, Q questions answered, P pairs of ROIs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.splits import folds_of
from brainjepa_core.wire.messages import GRADIENTS, Assignment
from brainjepa_simulations.attacks.asking.insisting import Ask, insist, seeded

ALONE = 1e-6  # of a person's row of the resolution matrix: nobody else is in the solution


def people_from_folds(
    ask: Ask, study: Assignment, labels: Sequence[str], seeds: Iterable[int] = range(12)
) -> dict[str, Float64]:
    """Fisher z [P] of each person that the answers determine.

    Parameters
    ----------
    ask : callable
    study : Assignment
    labels : sequence of str
        Of n people.
    seeds : iterable of int
        Of the splits that are asked about.
    """
    members, sums = [], []
    for seed in seeds:
        folds = folds_of(labels, seed, study.folds)
        for held_out in range(study.folds):
            reply = insist(
                ask, GRADIENTS, study, {}, pretraining=seeded(study, seed), held_out_fold=held_out
            )
            if not reply.refusal:
                members.append(folds != held_out)
                sums.append(reply.arrays["z_sum"])
    if not members:
        return {}
    return _determined(np.array(members, np.float64), np.array(sums), labels)


def _determined(members: Float64, sums: Float64, labels: Sequence[str]) -> dict[str, Float64]:
    """People whom the equations ``members @ people = sums`` leave no choice."""
    inverse = np.linalg.pinv(members)
    resolution = inverse @ members
    apart = np.abs(resolution - np.eye(len(labels))).max(axis=1) < ALONE
    people = inverse @ sums
    return {label: people[i] for i, label in enumerate(labels) if apart[i]}
