"""One study asked with two settings: their sums differ by one person, whom the difference shows.

The coordinator knows the people's labels (`attacks.folds`), and looks for two splits whose held-out
folds differ by one person before it asks anything: two questions a person.

Shapes: P pairs of ROIs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.splits import folds_of
from brainjepa_core.wire.messages import GRADIENTS, Assignment
from brainjepa_simulations.attacks.asking.insisting import Ask, insist, seeded

Split = tuple[int, int, int]  # seed, number of folds, fold that is held out
FOLDS = range(3, 21)


def people_from_two_settings(
    ask: Ask, study: Assignment, labels: Sequence[str], *, fewest: int = 3, seeds: int = 60
) -> dict[str, Float64]:
    """Fisher z [P] of people whom two answers tell apart.

    Parameters
    ----------
    ask : callable
    study : Assignment
    labels : sequence of str
    fewest : int
        People of a held-out fold without whom sites are known to refuse.
    seeds : int
        How many are looked through for pairs of splits.
    """
    found = {}
    for label, (without, with_them) in _pairs(labels, fewest, seeds).items():
        sums = [_sum(ask, study, split) for split in (with_them, without)]
        if sums[0] is not None and sums[1] is not None:
            found[label] = sums[1] - sums[0]
    return found


def _pairs(labels: Sequence[str], fewest: int, seeds: int) -> dict[str, tuple[Split, Split]]:
    """For each person two splits: one holds out the same people as the other, and them."""
    known: dict[frozenset[str], Split] = {}
    for seed in range(seeds):
        for folds in FOLDS:
            where = folds_of(labels, seed, folds)
            for fold in np.unique(where).tolist():
                people = frozenset(np.asarray(labels)[where == fold].tolist())
                known.setdefault(people, (seed, folds, fold))
    pairs: dict[str, tuple[Split, Split]] = {}
    for people, split in known.items():
        for label in sorted(people):
            fewer = people - {label}
            if len(fewer) >= fewest and fewer in known and label not in pairs:
                pairs[label] = known[fewer], split
    return pairs


def _sum(ask: Ask, study: Assignment, split: Split) -> Float64 | None:
    seed, folds, held_out = split
    changes = {"folds": folds, "held_out_fold": held_out, "pretraining": seeded(study, seed)}
    reply = insist(ask, GRADIENTS, study, {}, **changes)
    return None if reply.refusal else np.asarray(reply.arrays["z_sum"], np.float64)
