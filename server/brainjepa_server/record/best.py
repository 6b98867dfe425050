"""Which round of a study is its best."""

from __future__ import annotations

from collections.abc import Sequence

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_server.record.history import RoundRecord, YardstickRow


def score_of(rows: list[YardstickRow] | tuple[YardstickRow, ...]) -> float | None:
    """What rounds are compared by: R2 of the connectivity components from the headline pool."""
    found = _headline(rows)
    return None if found is None else found.r2


def best_of(rounds: Sequence[RoundRecord]) -> RoundRecord | None:
    """The round with the highest score, the earliest of equals; None where none has one.

    Scores from sums and those from the sites' own probes are no numbers of one kind: where some
    rounds have the former, one of them is the best.
    """
    scored = [
        (not found.own_probes, found.r2, r)
        for r in rounds
        if (found := _headline(r.yardstick)) is not None and found.r2 is not None
    ]
    return max(scored, key=lambda found: found[:2])[2] if scored else None


def _headline(rows: Sequence[YardstickRow]) -> YardstickRow | None:
    found = (r for r in rows if r.pool == HEADLINE and r.outcome == "connectivity")
    return next(found, None)
