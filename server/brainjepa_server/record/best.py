"""Which round of a study is its best."""

from __future__ import annotations

from collections.abc import Sequence

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.wire.messages import OTHER_HALF
from brainjepa_server.record.history import RoundRecord, YardstickRow

COMPARED_BY = (LATENT_CONNECTIVITY, OTHER_HALF), (HEADLINE, "connectivity")
"""Pools and outcomes that rounds are compared by: the first that a study tells.

The other half of a scan needs the person, and differs between models where probes of a few dozen
people a site do not; within secure sums and under differential privacy nobody tells it.
"""


def best_of(rounds: Sequence[RoundRecord]) -> RoundRecord | None:
    """The round with the highest score, the earliest of equals; None where none has one.

    Scores of different outcomes, and those from sums and from the sites' own probes, are no
    numbers of one kind: where some rounds have the former of these, one of them is the best.
    """
    scored = [
        (len(COMPARED_BY) - rank, not row.own_probes, row.r2, r)
        for r in rounds
        for rank, compared_by in enumerate(COMPARED_BY)
        if (row := _found(r.yardstick, compared_by)) is not None and row.r2 is not None
    ]
    return max(scored, key=lambda found: found[:3])[3] if scored else None


def _found(rows: Sequence[YardstickRow], compared_by: tuple[str, str]) -> YardstickRow | None:
    found = (r for r in rows if (r.pool, r.outcome) == compared_by and r.r2 is not None)
    return next(found, None)
