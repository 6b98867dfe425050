"""Which round of a study is its best."""

from __future__ import annotations

from collections.abc import Sequence

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_server.record.history import RoundRecord, YardstickRow


def score_of(rows: list[YardstickRow] | tuple[YardstickRow, ...]) -> float | None:
    """What rounds are compared by: R2 of the connectivity components from the headline pool."""
    found = [r.r2 for r in rows if r.pool == HEADLINE and r.outcome == "connectivity"]
    return found[0] if found else None


def best_of(rounds: Sequence[RoundRecord]) -> RoundRecord | None:
    """The round with the highest score, the earliest of equals; None where none has one."""
    scored = [(score, r) for r in rounds if (score := score_of(r.yardstick)) is not None]
    return max(scored, key=lambda found: found[0])[1] if scored else None
