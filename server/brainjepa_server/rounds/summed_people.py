"""Sums over the people of a secure sum's sites, as numbers again."""

from __future__ import annotations

from collections import Counter

import numpy as np

from brainjepa_core.arrays import Arrays
from brainjepa_core.wire.summed_people import HISTOGRAM, Layout, decode_people
from brainjepa_server.combining.summed_counts import require_told_together
from brainjepa_server.rounds.one_sum import Summed
from brainjepa_server.rounds.sites import Sites


def summed_people(sites: Sites, found: Summed, layout: Layout) -> Arrays:
    """Sums over the people of a sum's sites, of no more people than these can have.

    Raises
    ------
    OutOfRange
        If no sites that follow the protocol, and told the truth when they joined, have such sums.
    """
    assert sites.contract is not None
    sums = decode_people(found.total, layout, len(sites.contract.roster), len(found.alive))
    for of, people in _people_in(sums).items():
        require_told_together(people, "subjects", found.alive, sites.counts, of)
    return sums


def _people_in(sums: Arrays) -> dict[str, int]:
    """How many people are in each of the sums: in all folds, where there are some."""
    found: Counter[str] = Counter()
    for name, array in sums.items():
        *place, field = name.split(".")
        if field == "subjects":
            found["connectivity"] += int(array)
        elif field == "n":  # moments.POOL.FOLD.n
            found[place[1]] += int(array)
        elif field == HISTOGRAM:  # probe.POOL.histogram
            found[f"scores of {place[1]}"] += int(np.sum(array))
    return dict(found)
