"""Was it worth it? A study's yardstick in one comparison and a few plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    START,
    RoundRecord,
    RunHistory,
    YardstickRow,
    is_alone,
)

ALIKE = 0.01  # differences in R2 below this are called none
OUTCOMES = ("connectivity", "latents", "age within site")  # the first measured is shown
POOLS = (HEADLINE, "mean")  # likewise


@dataclass(frozen=True)
class Comparison:
    """The yardstick's rows of one study, those of the final model first.

    Attributes
    ----------
    rows : tuple of YardstickRow
    round : int or None
        The round that the federated rows are of, where it is known.
    """

    rows: tuple[YardstickRow, ...]
    round: int | None = None

    @classmethod
    def of(cls, history: RunHistory) -> Comparison:
        """Rows of the final comparison, completed by those of the best (else last) evaluation."""
        known = {row.model for row in history.baselines}
        if FEDERATED in known:
            found = _federated(history.baselines)
            rounds = [r.number for r in history.rounds if _federated(r.yardstick) == found]
            return cls(history.baselines, rounds[-1] if rounds else None)
        record = _evaluated(history)
        if record is None:
            return cls(history.baselines)
        rows = tuple(row for row in record.yardstick if row.model not in known)
        return cls((*rows, *history.baselines), record.number)

    def round_text(self, history: RunHistory) -> str:
        """Which round the federated rows are of, and whether it was picked by its result."""
        evaluated = sum(bool(record.yardstick) for record in history.rounds)
        text = f"after round {self.round}"
        if self.round == history.best_round and evaluated > 1:
            text += f", the best of {evaluated} by this yardstick, which flatters it a little"
        return text

    @cached_property
    def outcomes(self) -> list[str]:
        """Outcomes that were measured, the most telling first."""
        return _ordered((row.outcome for row in self.rows), OUTCOMES)

    @cached_property
    def pools(self) -> list[str]:
        """Pools that were measured, in their order of appearance."""
        return list(dict.fromkeys(row.pool for row in self.rows))

    @property
    def pool(self) -> str | None:
        """The pool that the verdict is about, fixed beforehand rather than picked by its result."""
        ordered = _ordered(self.pools, POOLS)
        return ordered[0] if ordered else None

    def r2(self, model: str, pool: str | None, outcome: str | None) -> float | None:
        """Held-out R2 of a model; None where not measured."""
        found = [r.r2 for r in self.rows if (r.model, r.pool, r.outcome) == (model, pool, outcome)]
        return found[0] if found else None

    def alone(self, pool: str | None, outcome: str | None) -> list[float]:
        """Held-out R2 of every site alone."""
        chosen = [r for r in self.rows if (r.pool, r.outcome) == (pool, outcome)]
        return [r.r2 for r in chosen if is_alone(r.model) and r.r2 is not None]


def verdict(history: RunHistory) -> str:
    """One paragraph on what the federation achieved, in plain words and as plain text."""
    comparison = Comparison.of(history)
    start = _progress(history)
    outcome = comparison.outcomes[0] if comparison.outcomes else None
    pool = comparison.pool
    own = comparison.r2(FEDERATED, pool, outcome)
    if own is None:
        return (
            f"{start} Nothing has been measured on held-out people yet, so it is not known whether "
            "the model learned anything: a falling loss does not tell."
        )
    of_round = "" if comparison.round is None else f" ({comparison.round_text(history)})"
    explains = f"explains {own:.0%} of the differences in" if own >= ALIKE else "tells nothing of"
    sentences = [
        start,
        f"Measured on people that no site trained on, the federated model{of_round} {explains} "
        f"{outcome} (R² {own:.3f}, read from the pool “{pool}”).",
    ]
    random = comparison.r2(RANDOM, pool, outcome)
    alone = comparison.alone(pool, outcome)
    pooled = comparison.r2(POOLED, pool, outcome)
    began = comparison.r2(START, pool, outcome)
    if random is not None:
        sentences.append(_against(own, random, "a model with random weights"))
    if began is not None:
        sentences.append(_against(own, began, "the model that the study started from"))
    if alone:
        mean = sum(alone) / len(alone)
        beaten = sum(own > value for value in alone)
        sentences.append(
            f"{_against(own, mean, 'what sites reach alone, on average')[:-1]}, and it is ahead of "
            f"{beaten} of {len(alone)} sites."
        )
    if pooled is not None:
        sentences.append(_against(own, pooled, "training on all data in one place"))
    missing = [
        name
        for name, found in (("random weights", random is not None), ("sites alone", bool(alone)))
        if not found
    ]
    if missing:
        sentences.append(f"Not compared yet with {' and '.join(missing)}.")
    return " ".join(sentence for sentence in sentences if sentence)


def _against(own: float, other: float, what: str) -> str:
    gain = own - other
    if abs(gain) < ALIKE:
        return f"It does about as well as {what} (R² {other:.3f}, difference {gain:+.3f})."
    word = "beats" if gain > 0 else "falls short of"
    return f"It {word} {what} (R² {other:.3f}) by {abs(gain):.3f}."


def _progress(history: RunHistory) -> str:
    done = len(history.rounds)
    if not done:
        return "Training has not begun."
    of = f" of {history.total_rounds}" if history.total_rounds else ""
    used = len({name for record in history.rounds for name in record.sites})
    text = f"Rounds done: {done}{of}, with {used} {'site' if used == 1 else 'sites'}"
    rejected = sum(len(record.rejected) for record in history.rounds)
    replies = "reply was" if rejected == 1 else "replies were"
    return f"{text}; {rejected} {replies} left out." if rejected else f"{text}."


def _federated(rows: Iterable[YardstickRow]) -> list[YardstickRow]:
    return [row for row in rows if row.model == FEDERATED]


def _evaluated(history: RunHistory) -> RoundRecord | None:
    """The best round if it was evaluated, else the last one that was."""
    found = {record.number: record for record in history.rounds if record.yardstick}
    if history.best_round in found:
        return found[history.best_round]
    return found[max(found)] if found else None


def _ordered(names: Iterable[str], first: tuple[str, ...]) -> list[str]:
    distinct = list(dict.fromkeys(names))
    return sorted(distinct, key=lambda name: first.index(name) if name in first else len(first))
